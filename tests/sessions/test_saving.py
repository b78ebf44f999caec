"""Weights that are saved for somebody else: only their key opens the files, and a text that is no key is refused."""

import pyrage
import pytest
from safetensors.numpy import load
from sessions.conftest import ON_SQLITE, serving

from tunesmith.core.errors import UserError


@ON_SQLITE
def test_only_the_recipient_can_read_what_is_saved_for_them(store, tmp_path):
    mine, other = pyrage.x25519.Identity.generate(), pyrage.x25519.Identity.generate()

    async def work(api):
        model, save = await api.create(), api.sessions.models.save
        with pytest.raises(UserError, match="is no age key"):
            save(api.owner, model, 1, "weights", "kept", ["age1-not-a-key"])
        request = save(api.owner, model, 1, "external_weights", "kept", [str(mine.to_public())])
        assert save(api.owner, model, 1, "external_weights", "kept", [str(mine.to_public())]) == request
        said = await api.result(request)
        row = api.sessions.vault.find(said.fields["path"], api.owner)
        return {file.name: file.read_bytes() for file in api.sessions.vault.files(row).iterdir()}

    files = serving(store, tmp_path, work)
    assert files and all(name.endswith(".age") for name in files)
    assert load(pyrage.decrypt(files["adapter_model.safetensors.age"], [mine]))
    with pytest.raises(pyrage.DecryptError):
        pyrage.decrypt(files["adapter_model.safetensors.age"], [other])
