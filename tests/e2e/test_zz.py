import asyncio
from tests.support.api import *
from tests.support.processes import *
from tests.support.provision import *
async def test_w(engine, database_url, redis_url, tmp_path):
    url = database_url.replace("/textback?", "/nowhere?")
    given = {"TEXTBACK_DATABASE_URL": url, "TEXTBACK_REDIS_URL": redis_url,
        "TEXTBACK_PUBLIC_URL": "http://127.0.0.1:1", "TEXTBACK_SECRET_KEY": SECRET_KEY}
    (tmp_path/"f.yaml").write_text("accounts: [{id: acme}]")
    async with Textback(tmp_path, given) as t:
        for c in (["doctor"], ["migrate"], ["conversations"], ["apply","f.yaml"]):
            r = await t.run(*c); print(c, r.code, r.out[-300:], "ERR", r.err[-400:])
        w = await t.start("work"); await asyncio.sleep(2.5); print(w.is_alive, w.log[:400], w.log[-1500:], len(w.log))
        given2 = {"TEXTBACK_DATABASE_URL": "postgresql://x@127.0.0.1:9/x"}
        w = await t.start("work", **given2); await asyncio.sleep(2.5); w.ask_to_stop(); print("work", await w.ended(20)); print(w.log[:900], len(w.log))
    async with started(settings(url, redis_url)) as rt, client(rt) as http:
        print((await send(http)).status_code, (await http.get("/health/ready")).text)
