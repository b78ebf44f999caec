"""Names of the files that PEFT's format consists of. Here, because who only looks for them needs no tensors."""

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
