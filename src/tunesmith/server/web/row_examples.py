"""A line of a dataset for each kind of job, to show to whoever is about to make a file."""

ROW_EXAMPLES = {
    "sft": (
        "SFT: a conversation, as it should go. What the assistant says is trained.",
        '{"messages": [{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "4"}]}',
    ),
    "dpo": (
        "DPO: a question with a better and a worse answer.",
        '{"input": {"messages": [{"role": "user", "content": "2+2?"}]}, '
        '"preferred_output": [{"role": "assistant", "content": "4"}], '
        '"non_preferred_output": [{"role": "assistant", "content": "5"}]}',
    ),
    "rft": (
        "RFT: a prompt, and whatever its grader needs, under any name.",
        '{"messages": [{"role": "user", "content": "2+2?"}], "ground_truth": "4"}',
    ),
}
"""Kind -> (what it is, the line)."""
