"""What tests tell beside whether they passed; pytest loads a conftest of its own, so it cannot stand there."""

#: What nights did to production, a row of cells each: filled by `test_nights`, printed at the end.
NIGHTS: list[tuple[str, ...]] = []
