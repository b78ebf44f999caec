"""The same completions in this process, without a server: the other side of ``bench.soak``'s streams."""

import asyncio
import json
import sys
import time

import numpy as np

from bench.soak_clients import MAX_TOKENS, PROMPT
from tunesmith.core.ports import Sampler
from tunesmith.core.types import SamplingParams
from tunesmith.services.serve_local import open_tuned


async def main(sampler: Sampler, count: int, each: int) -> None:
    """A line is read from standard input before each round, as its turn."""
    prompt = np.asarray(PROMPT, np.int32)

    async def one(first_seed: int) -> int:
        tokens = 0
        for number in range(each):
            params = SamplingParams(max_tokens=MAX_TOKENS, temperature=1.0, seed=first_seed + number)
            [completion] = await sampler.sample(prompt, params, 1)
            tokens += len(completion.tokens)
        return tokens

    await asyncio.gather(*(one(each * stream) for stream in range(count)))
    print("ready", flush=True)
    while sys.stdin.readline().strip() == "go":
        began = time.perf_counter()
        tokens = sum(await asyncio.gather(*(one(each * stream) for stream in range(count))))
        print(tokens / (time.perf_counter() - began), flush=True)


if __name__ == "__main__":
    asyncio.run(main(open_tuned("embedded").sampler, **json.loads(sys.argv[1])))
