"""Reading and writing checkpoints, the decoder, adapters, tokenizer and chat template, the embedded tiny model."""
