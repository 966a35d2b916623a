"""A machine in a folder: settings that can be read, written, refused and ignored."""

from pathlib import Path

from ai_assistant.devices.apply_port import Rooted


class FakeRoot(Rooted):
    """`refuse` raises as the kernel does without rights; `ignore` takes a value and drops it."""

    def __init__(self, root: Path, files: dict[str, str]) -> None:
        super().__init__(root)
        self.root = root
        self.refuse: set[str] = set()
        self.ignore: set[str] = set()
        self.round = False
        self.die_at: str | None = None
        self.written: list[str] = []
        for path, text in files.items():
            place = root / path.lstrip("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text)

    @property
    def system(self) -> str:
        """Whatever the tests run on."""
        return "Linux"

    def write(self, path: str, value: str) -> None:
        """As the kernel would, for files that list their words too."""
        if path == self.die_at:
            raise KeyboardInterrupt  # the process ends here
        if path in self.refuse:
            raise PermissionError(13, "Permission denied", path)
        if path in self.ignore:
            return
        text = self.read(path) or ""
        if "[" in text:
            words = [word.strip("[]") for word in text.split()]
            if value not in words:
                raise OSError(22, "Invalid argument", path)
            value = " ".join(f"[{word}]" if word == value else word for word in words)
        if self.round:
            value = str(int(value) + 1)
        super().write(path, value)
        self.written.append(path)
