"""How the embedded model is made: a pupil's exercise book, a tokenizer, random weights, and measurements."""
