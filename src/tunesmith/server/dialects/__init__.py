"""The wires that other clients speak, each in a folder of its own."""
