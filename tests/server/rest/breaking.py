"""A way to the server that does not hold, for clients that have to live with one."""

import contextlib
import socket
import threading

SILENCE_S = 3.0


class Breaking:
    """A way to a server that breaks: the first connections carry so many bytes there, and nothing of an answer back."""

    def __init__(self, base_url: str, lasts: list[int]) -> None:
        self._far = (base_url.rpartition("/")[2].rpartition(":")[0], int(base_url.rpartition(":")[2]))
        self._lasts = iter(lasts)
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        self._open = [self.socket]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        for one in self._open:
            with contextlib.suppress(OSError):
                # Who waits in it is woken by this, not by its being closed.
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, far = self.socket.accept()[0], socket.create_connection(self._far)
                self._open += [near, far]
                most = next(self._lasts, None)
                threading.Thread(target=self._carry, args=(near, far, most), daemon=True).start()
                if most is None:
                    threading.Thread(target=self._carry, args=(far, near, None), daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket, most: int | None) -> None:
        carried = 0
        # Of one that breaks, a silence is its end: all has arrived by then, and the answer is lost.
        source.settimeout(None if most is None else SILENCE_S)
        with contextlib.suppress(OSError):
            while (most is None or carried < most) and (piece := source.recv(1 << 14)):
                target.sendall(piece)
                carried += len(piece)
            if most is None:
                target.shutdown(socket.SHUT_WR)
                return
        source.close()
        target.close()
