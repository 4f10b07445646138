"""An environment file read as systemd.exec(5) documents it: written apart from what renders it, to test that."""

BLANK = " \t\r"


def parse(text: str) -> dict[str, str]:
    values: dict[str, str] = {}
    position = 0
    while position < len(text):
        line_end = text.find("\n", position)
        line_end = len(text) if line_end == -1 else line_end
        line = text[position:line_end]
        if not line.strip(BLANK) or line.lstrip(BLANK)[0] in "#;" or "=" not in line:
            position = line_end + 1
            continue
        equals = text.index("=", position)
        key = text[position:equals].strip(BLANK)
        values[key], position = _value(text, equals + 1)
    return values


def _value(text: str, position: int) -> tuple[str, int]:
    while position < len(text) and text[position] in BLANK:
        position += 1
    if position < len(text) and text[position] == '"':
        return _double_quoted(text, position + 1)
    end = text.find("\n", position)
    end = len(text) if end == -1 else end
    return text[position:end].rstrip(BLANK), end + 1


def _double_quoted(text: str, position: int) -> tuple[str, int]:
    result = ""
    while text[position] != '"':
        if text[position] == "\\":
            following = text[position + 1]
            position += 2
            if following == "\n":
                continue
            result += following if following in '"\\`$' else "\\" + following
            continue
        result += text[position]
        position += 1
    end = text.find("\n", position)
    rest = text[position + 1 : end]
    assert not rest.strip(BLANK), f"text after the closing quote: {rest!r}"
    return result, end + 1
