"""What a refusal must be: exactly our error, on one line, with the words that help."""

import pytest


def refused(error, function, *words: str) -> None:
    """Call the function, which must raise exactly this error of ours with all these words in its message."""
    with pytest.raises(error) as caught:
        function()
    assert type(caught.value) is error
    message = str(caught.value)
    for word in words:
        assert word in message, f"{word!r} is not in {message!r}"
    assert len(message.splitlines()) == 1, message
