"""HTTP around the services: one app, one door for keys and errors, a dialect for each wire."""
