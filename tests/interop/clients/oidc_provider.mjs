// An OpenID provider (npm's oidc-provider) for one client. Its own pages sign anyone in by name.
import { pathToFileURL } from "node:url";

const [library, port, clientId, clientSecret, callback] = process.argv.slice(2);
const { default: Provider } = await import(pathToFileURL(library).href);

const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [{ client_id: clientId, client_secret: clientSecret, redirect_uris: [callback] }],
  claims: { openid: ["sub", "groups"], email: ["email", "email_verified"], profile: ["name"] },
  pkce: { required: () => true },
  findAccount: (_, id) => ({
    accountId: id,
    claims: () => ({ sub: id, email: `${id}@acme.example`, email_verified: true, groups: ["crm"] }),
  }),
});
provider.listen(Number(port), "127.0.0.1");
