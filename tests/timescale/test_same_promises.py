"""What holds on plain PostgreSQL holds on hypertables: the tests of the sink, of recomputation and of reading, run once more there.

A subset, so that the run stays short: those whose statements meet the tables that are cut into chunks.
"""

from tests.integration.test_archive import (
    test_a_late_event_of_an_archived_day_is_appended,
    test_archived_and_dropped_days_are_verified_and_rebuilt_as_if_they_were_there,
    test_who_reads_both_places_is_not_passed_by_a_drop,
)
from tests.integration.test_archive_files import test_every_column_of_random_events_survives_exactly
from tests.integration.test_creator_boards import test_every_board_agrees_with_a_count_of_the_events
from tests.integration.test_declarations import test_migrating_again_changes_nothing
from tests.integration.test_event_stream import (
    test_a_group_larger_than_the_memory_of_the_tail_comes_whole,
    test_every_event_comes_once_in_feed_order_whatever_breaks,
)
from tests.integration.test_isolation import test_under_the_apis_role_sql_reads_nothing_without_an_organization
from tests.integration.test_profit_and_loss import test_freqtrades_trades_agree_with_freqtrades_own_report
from tests.integration.test_query_figures import (
    test_measurements_agree_with_duckdb,
    test_trades_agree_with_duckdb_to_the_last_digit,
    test_viewers_and_actions_agree_with_a_count_of_the_raw_events,
)
from tests.integration.test_recent_trades import test_every_trade_comes_once_the_latest_first
from tests.integration.test_recompute import *  # noqa: F403
from tests.integration.test_retention import *  # noqa: F403
from tests.integration.test_sink_crash import test_a_process_killed_in_the_middle_of_a_step
from tests.integration.test_sink_exactly_once import (
    test_identities_are_known_after_sealing_and_after_a_restart,
    test_rollups_equal_a_one_pass_computation_for_any_delivery,
)
from tests.integration.test_sink_refusals import (
    test_names_that_are_too_long_for_an_index_do_not_hold_their_neighbours_back,
    test_only_the_guilty_events_are_refused,
)
from tests.integration.test_sink_writers import *  # noqa: F403
from tests.integration.test_standings import (
    test_readers_are_not_held_up_by_a_refresh,
    test_what_comes_late_is_gathered_too,
    test_what_is_read_is_what_was_refreshed_and_says_so,
)
from tests.integration.test_top_creators import test_scores_follow_the_formula
from tests.integration.test_trade_analytics import record, test_figures_over_time_and_by_group, test_strategies

# A chunk goes with all that is in it, so there a drop does keep writers waiting.
del test_no_writer_waits_for_a_drop_and_what_it_writes_meanwhile_stays  # noqa: F821 - it came with the star

__all__ = [
    "record",
    "test_a_group_larger_than_the_memory_of_the_tail_comes_whole",
    "test_a_late_event_of_an_archived_day_is_appended",
    "test_a_process_killed_in_the_middle_of_a_step",
    "test_archived_and_dropped_days_are_verified_and_rebuilt_as_if_they_were_there",
    "test_every_board_agrees_with_a_count_of_the_events",
    "test_every_column_of_random_events_survives_exactly",
    "test_every_event_comes_once_in_feed_order_whatever_breaks",
    "test_every_trade_comes_once_the_latest_first",
    "test_figures_over_time_and_by_group",
    "test_freqtrades_trades_agree_with_freqtrades_own_report",
    "test_identities_are_known_after_sealing_and_after_a_restart",
    "test_measurements_agree_with_duckdb",
    "test_migrating_again_changes_nothing",
    "test_names_that_are_too_long_for_an_index_do_not_hold_their_neighbours_back",
    "test_only_the_guilty_events_are_refused",
    "test_readers_are_not_held_up_by_a_refresh",
    "test_rollups_equal_a_one_pass_computation_for_any_delivery",
    "test_scores_follow_the_formula",
    "test_strategies",
    "test_trades_agree_with_duckdb_to_the_last_digit",
    "test_under_the_apis_role_sql_reads_nothing_without_an_organization",
    "test_viewers_and_actions_agree_with_a_count_of_the_raw_events",
    "test_what_comes_late_is_gathered_too",
    "test_what_is_read_is_what_was_refreshed_and_says_so",
    "test_who_reads_both_places_is_not_passed_by_a_drop",
]
