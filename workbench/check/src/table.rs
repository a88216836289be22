//! The table of all checks.

use std::sync::LazyLock;

use crate::Check;
#[cfg(target_os = "linux")]
use crate::checks::interrupted;
use crate::checks::{
    broken_connections, chat, command_line, concurrency, delivery, echo, framing, half_close,
    limits, log, memory, outputs, protocol_errors, queue_limits, slow_readers, survival,
};
#[cfg(unix)]
use crate::checks::{exhaustion, shortage, sigterm, stopping, trace};
use crate::protocols::OTHER_PROTOCOLS;

/// The checks of each file in `checks`. A new file is one more line here; the checks of other protocols are
/// in their own table.
const FILES: &[&[Check]] = &[
    framing::ROWS,
    protocol_errors::ROWS,
    echo::ROWS,
    survival::ROWS,
    broken_connections::ROWS,
    #[cfg(target_os = "linux")]
    interrupted::ROWS,
    concurrency::ROWS,
    chat::ROWS,
    delivery::ROWS,
    half_close::ROWS,
    slow_readers::ROWS,
    queue_limits::ROWS,
    #[cfg(unix)]
    sigterm::ROWS,
    #[cfg(unix)]
    stopping::ROWS,
    limits::ROWS,
    memory::ROWS,
    #[cfg(unix)]
    exhaustion::ROWS,
    #[cfg(unix)]
    shortage::ROWS,
    command_line::ROWS,
    outputs::ROWS,
    log::ROWS,
    #[cfg(unix)]
    trace::ROWS,
];

/// All checks, sorted by theme. Within a theme, the order is that of the files and their rows.
pub static TABLE: LazyLock<Vec<Check>> = LazyLock::new(|| {
    let mut all = FILES.concat();
    all.extend(OTHER_PROTOCOLS.iter().flat_map(|protocol| protocol.checks));
    all.sort_by_key(|check| check.theme); // stable: within a theme, the order of the files stays
    all
});

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::fs;
    use std::path::Path;

    use clap::ValueEnum as _;

    use super::*;
    use crate::{Profile, Requirement};

    #[test]
    fn every_check_is_complete_and_depends_on_checks_that_exist() {
        let ids: HashSet<_> = TABLE.iter().map(|check| check.id).collect();
        assert_eq!(ids.len(), TABLE.len());
        for check in TABLE.iter().filter(|check| check.has_profile()) {
            assert_eq!(check.must_fail.is_empty(), check.must_fail_hint.is_empty(), "{}", check.id);
            let texts = [check.id, check.title, check.rule];
            assert!(texts.iter().chain(&check.hints).all(|it| !it.is_empty()), "{}", check.id);
            assert!(
                check.after.iter().all(|id| ids.contains(id) && *id != check.id),
                "{}",
                check.id
            );
        }
    }

    #[test]
    fn no_check_depends_on_itself_through_other_checks() {
        for profile in Profile::value_variants() {
            let rows: Vec<_> =
                TABLE.iter().filter(|it| it.requirement(*profile) != Requirement::None).collect();
            let mut done = HashSet::new();
            // Each round removes the checks that depend only on removed checks.
            let mut left = rows.clone();
            while !left.is_empty() {
                let (ready, waiting): (Vec<&Check>, Vec<&Check>) = left.iter().partition(|check| {
                    let asked = |id: &&str| rows.iter().any(|row| row.id == *id);
                    check.dependencies(*profile).filter(asked).all(|id| done.contains(id))
                });
                let waiting_ids: Vec<_> = waiting.iter().map(|check| check.id).collect();
                assert!(!ready.is_empty(), "{profile}: a cycle in {waiting_ids:?}");
                done.extend(ready.iter().map(|check| check.id));
                left = waiting;
            }
        }
    }

    #[test]
    fn each_page_to_read_is_in_the_book() {
        for check in TABLE.iter().filter(|check| check.has_profile()) {
            let (page, heading) = check.page.split_once('#').unwrap();
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/src").join(page);
            let text = fs::read_to_string(path).unwrap();
            assert!(text.lines().any(|line| line == format!("## {heading}")), "{}", check.page);
        }
    }

    #[test]
    fn a_check_for_our_servers_cites_its_section() {
        for check in TABLE.iter().filter(|check| !check.has_profile()) {
            assert!(check.rule.starts_with('§'), "{}: {}", check.id, check.rule);
            assert!(
                !check.own_servers.stages.is_empty() || check.own_servers.non_stages.is_some(),
                "{}",
                check.id
            );
        }
    }
}
