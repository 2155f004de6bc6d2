"""What closes: as a context manager, and without blocking an event loop."""

import asyncio
from abc import ABC, abstractmethod
from typing import Self


class Closing(ABC):
    """Something that is closed once it is not needed any more."""

    @abstractmethod
    def close(self) -> None:
        """Close it. Closing twice does nothing."""

    async def aclose(self) -> None:
        """``close`` for event loops."""
        await asyncio.to_thread(self.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.aclose()
