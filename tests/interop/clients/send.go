// go run send.go PORT USERNAME PASSWORD FIELD...: with AUTH LOGIN as Go programs write it.
// Each FIELD is a header field, `Name: value`.
package main

import (
	"fmt"
	"net/smtp"
	"os"
	"strings"
)

// loginAuth is what Go programs use for AUTH LOGIN: it knows exactly these two challenges.
type loginAuth struct{ username, password string }

func (a loginAuth) Start(server *smtp.ServerInfo) (string, []byte, error) { return "LOGIN", nil, nil }

func (a loginAuth) Next(challenge []byte, more bool) ([]byte, error) {
	if !more {
		return nil, nil
	}
	switch string(challenge) {
	case "Username:":
		return []byte(a.username), nil
	case "Password:":
		return []byte(a.password), nil
	}
	return nil, fmt.Errorf("unknown challenge %q", challenge)
}

func main() {
	port, username, password := os.Args[1], os.Args[2], os.Args[3]
	fields := append([]string{"From: crm@acme.example", "Subject: Hello"}, os.Args[4:]...)
	content := strings.Join(fields, "\r\n") + "\r\n\r\n" + strings.Repeat("lorem ipsum ", 300) + "\r\n"
	auth := loginAuth{username, password}
	if err := smtp.SendMail("127.0.0.1:"+port, auth, "crm@acme.example", []string{"customer@example.com"}, []byte(content)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
