"""Every rollup there is. A new one is declared in the file of its event kind and listed here."""

from aggregators.definitions.api_requests import API_REQUESTS
from aggregators.definitions.enterprise import ENTERPRISE_METRICS
from aggregators.definitions.system import SYSTEM_METRICS
from aggregators.definitions.trade import TRADE_PNL
from aggregators.definitions.view import VIDEO_ENGAGEMENT
from aggregators.rollup import Rollup

ROLLUPS: tuple[Rollup, ...] = (SYSTEM_METRICS, ENTERPRISE_METRICS, TRADE_PNL, VIDEO_ENGAGEMENT, API_REQUESTS)

BY_NAME: dict[str, Rollup] = {rollup.name: rollup for rollup in ROLLUPS}
