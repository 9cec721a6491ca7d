"""Standard streams that are closed, or cannot be written: no reason for a traceback."""

import errno
import io
import os
import sys
from collections.abc import Callable


class _Output(io.TextIOWrapper):
    """Knows an error that was its own."""

    failed: OSError | None = None

    def write(self, s: str, /) -> int:
        try:
            return super().write(s)
        except OSError as error:
            self.failed = error
            raise

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as error:
            self.failed = error
            raise


def run(command: Callable[[], object]) -> None:
    """To its `SystemExit`. That standard output cannot be written is said in a sentence."""
    _stand_in()
    out = sys.stdout = _output()
    try:
        command()
    except OSError as error:
        if error is not out.failed:
            raise
        raise _unwritten(error) from None
    except SystemExit:
        try:
            sys.stdout.flush()  # Python itself does so when there is nobody to tell any more
        except OSError as error:
            raise _unwritten(error) from None
        raise


def _output() -> _Output:
    out = sys.stdout
    assert isinstance(out, io.TextIOWrapper)  # noqa: S101 - as Python opens it
    at_once = out.write_through
    return _Output(
        os.fdopen(1, "wb", buffering=0 if at_once else -1, closefd=False),
        out.encoding,
        out.errors,
        line_buffering=out.line_buffering,
        write_through=at_once,
    )


def _unwritten(error: OSError) -> SystemExit:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # nor does Python complain of it at its end
    if error.errno != errno.EPIPE:  # whoever reads no further knows that
        print(f"Standard output cannot be written: {error.strerror}.", file=sys.stderr)
    return SystemExit(1)


def _stand_in() -> None:
    """For those that whoever started us closed: libuv aborts over the first socket."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            opened = os.open(os.devnull, os.O_RDWR)
            os.dup2(opened, number)
            if opened != number:
                os.close(opened)
            setattr(sys, name, os.fdopen(number, "w" if number else "r", closefd=False))
