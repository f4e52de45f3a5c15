"""A process that asks a server through the cache, to be killed: URL, dataset, number of questions."""

import sys

from curate.workspace import open_workspace
from stages.caption.backends import make
from stages.caption.backends.openai import OpenAI
from stages.caption.protocol import Request

url, dataset, count = sys.argv[1:]
with open_workspace(dataset) as work:
    backend = make(OpenAI(url=url, model="m", concurrency=4), work)
    for number, reply in backend.answer(Request((f"fine {n}",)) for n in range(int(count))):
        print(number, reply.text, flush=True)
