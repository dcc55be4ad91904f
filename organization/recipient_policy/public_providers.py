"""Domains where everybody can have an address: allowing one of them would allow the whole world."""

from __future__ import annotations

_DOMAINS = """
10minutemail.com 126.com 163.com aim.com aliyun.com aol.com bigpond.com bk.ru bluewin.ch bol.com.br btinternet.com
comcast.net cox.net daum.net earthlink.net fastmail.com fastmail.fm foxmail.com free.fr freenet.de gmail.com gmx.at
gmx.ch gmx.com gmx.de gmx.net googlemail.com guerrillamail.com hanmail.net hey.com hotmail.co.uk hotmail.com
hotmail.de hotmail.es hotmail.fr hotmail.it hushmail.com icloud.com inbox.com inbox.lv interia.pl internet.ru
kakao.com laposte.net libero.it list.ru live.co.uk live.com live.de live.fr live.nl lycos.com mac.com mail.com mail.de
mail.ru mailbox.org mailinator.com me.com msn.com naver.com netscape.net o2.pl onet.pl op.pl orange.fr outlook.com
outlook.com.br outlook.de outlook.es outlook.fr outlook.pt passport.com pm.me posteo.de proton.me protonmail.ch
protonmail.com qq.cn qq.com rambler.ru rediffmail.com rocketmail.com runbox.com sapo.pt seznam.cz sfr.fr shaw.ca
sina.cn sina.com sky.com sohu.com t-online.de terra.com.br tiscali.it trashmail.com tuta.com tuta.io tutanota.com
tutanota.de uol.com.br verizon.net virgilio.it wanadoo.fr web.de wp.pl ya.ru yahoo.ca yahoo.co.in yahoo.co.jp
yahoo.co.uk yahoo.com yahoo.com.ar yahoo.com.au yahoo.com.br yahoo.com.mx yahoo.de yahoo.es yahoo.fr yahoo.in yahoo.it
yandex.com yandex.ru yeah.net ymail.com yopmail.com ziggo.nl zoho.com zohomail.com
"""

PUBLIC_PROVIDERS = frozenset(_DOMAINS.split())
