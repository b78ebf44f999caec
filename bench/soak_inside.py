"""The same completions in this process, without a server: the other side of ``bench.soak``'s streams."""

import asyncio
import json
import sys

import numpy as np

from bench.sides import stream_turns
from tunesmith.core.ports import Sampler
from tunesmith.core.types import Ints, SamplingParams
from tunesmith.services.serve_local import open_tuned


async def main(sampler: Sampler, prompt: Ints, max_tokens: int, count: int, each: int) -> None:
    async def one(stream: int) -> int:
        tokens = 0
        for number in range(each):
            params = SamplingParams(max_tokens=max_tokens, temperature=1.0, seed=each * stream + number)
            [completion] = await sampler.sample(prompt, params, 1)
            tokens += len(completion.tokens)
        return tokens

    await stream_turns(one, count)


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    prompt, most = np.asarray(given["asked"]["prompt"], np.int32), given["asked"]["max_tokens"]
    asyncio.run(main(open_tuned(given["folder"]).sampler, prompt, most, given["count"], given["each"]))
