"""Domains where everybody can have an address: allowing one of them would allow the whole world."""

from __future__ import annotations

PUBLIC_PROVIDERS = frozenset(
    "163.com 126.com yeah.net qq.com foxmail.com sina.com sina.cn sohu.com aliyun.com"
    " aol.com aim.com bigpond.com bluewin.ch bol.com.br btinternet.com comcast.net cox.net earthlink.net"
    " fastmail.com fastmail.fm free.fr freenet.de gmail.com googlemail.com gmx.at gmx.ch gmx.com gmx.de gmx.net"
    " hey.com hotmail.co.uk hotmail.com hotmail.de hotmail.es hotmail.fr hotmail.it hushmail.com"
    " icloud.com me.com mac.com inbox.com inbox.lv interia.pl kakao.com laposte.net libero.it list.ru live.co.uk live.com"
    " live.de live.fr live.nl lycos.com mail.com mail.de mail.ru bk.ru internet.ru msn.com mailbox.org naver.com hanmail.net"
    " daum.net netscape.net o2.pl onet.pl op.pl orange.fr outlook.com outlook.com.br outlook.de outlook.es outlook.fr"
    " outlook.pt passport.com pm.me posteo.de proton.me protonmail.ch protonmail.com qq.cn rambler.ru rediffmail.com"
    " rocketmail.com runbox.com sapo.pt seznam.cz sfr.fr shaw.ca sky.com t-online.de terra.com.br tiscali.it tuta.com"
    " tuta.io tutanota.com tutanota.de uol.com.br verizon.net virgilio.it wanadoo.fr web.de wp.pl"
    " yahoo.ca yahoo.co.in yahoo.co.jp yahoo.co.uk yahoo.com yahoo.com.ar yahoo.com.au yahoo.com.br yahoo.com.mx yahoo.de"
    " yahoo.es yahoo.fr yahoo.in yahoo.it ya.ru yandex.com yandex.ru ymail.com zoho.com zohomail.com ziggo.nl"
    " mailinator.com guerrillamail.com 10minutemail.com yopmail.com trashmail.com".split()  # noqa: SIM905  # reads better
)
