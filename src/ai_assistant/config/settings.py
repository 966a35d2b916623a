"""Everything that the owner may set, by room."""

import msgspec

from ai_assistant.devices.power.settings import PowerSettings
from ai_assistant.devices.settings import CacheSettings, EngineSettings
from ai_assistant.gateway.settings import GatewaySettings
from ai_assistant.jobs.settings import JobsSettings
from ai_assistant.scheduler.routing.routes import RoutingSettings
from ai_assistant.scheduler.settings import SchedulerSettings
from ai_assistant.store.settings import StoreSettings


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """A section for each room; its keys are the fields of the section's type."""

    server: GatewaySettings = GatewaySettings()
    scheduler: SchedulerSettings = SchedulerSettings()
    routing: RoutingSettings = RoutingSettings()
    engine: EngineSettings = EngineSettings()
    cache: CacheSettings = CacheSettings()
    store: StoreSettings = StoreSettings()
    jobs: JobsSettings = JobsSettings()
    power: PowerSettings = PowerSettings()
