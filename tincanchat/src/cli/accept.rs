use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

use super::log_limit::{Reason, warn_limited};

/// The first pause after an error that no retry mends, and the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// What to do when `accept` fails: log it, and say how long to wait before the next try.
///
/// There are two kinds of errors (accept(2)): one that belongs to the connection that was to be
/// accepted, where the next may be accepted at once; and a lack of resources, descriptors above
/// all, where the same connection would fail again at once, so some time has to pass.
#[derive(Debug, Default)]
pub(super) struct AcceptErrors {
    last: Option<(Instant, Duration)>,
}

impl AcceptErrors {
    /// Logs an error of `accept`, and says how long to wait before the next call of it.
    pub(super) fn pause(&mut self, err: &io::Error) -> Duration {
        // A signal came while it waited: nothing has gone wrong.
        if err.kind() == ErrorKind::Interrupted {
            return Duration::ZERO;
        }
        if belongs_to_the_connection(err) {
            warn_limited(Reason::Accept(err.kind()), || format!("accept: {err}"));
            return Duration::ZERO;
        }
        let now = Instant::now();
        let pause = match self.last {
            // It goes on, so it is not worth trying as often.
            Some((at, pause)) if now - at < 2 * LONGEST_PAUSE => (2 * pause).min(LONGEST_PAUSE),
            _ => FIRST_PAUSE,
        };
        self.last = Some((now, pause));
        warn_limited(Reason::Resources(err.kind()), || format!("accept: {err}; trying again"));
        pause
    }
}

fn belongs_to_the_connection(err: &io::Error) -> bool {
    matches!(
        err.kind(),
        ErrorKind::ConnectionAborted
            | ErrorKind::ConnectionReset
            | ErrorKind::HostUnreachable
            | ErrorKind::NetworkDown
            | ErrorKind::NetworkUnreachable
            | ErrorKind::PermissionDenied
            | ErrorKind::TimedOut
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lack_of_descriptors_pauses_longer_each_time() {
        let mut accept_errors = AcceptErrors::default();
        let too_many = || io::Error::other("too many open files");
        assert_eq!(accept_errors.pause(&ErrorKind::ConnectionAborted.into()), Duration::ZERO);
        assert_eq!(accept_errors.pause(&too_many()), FIRST_PAUSE);
        assert_eq!(accept_errors.pause(&too_many()), 2 * FIRST_PAUSE);
        for _ in 0..10 {
            accept_errors.pause(&too_many());
        }
        assert_eq!(accept_errors.pause(&too_many()), LONGEST_PAUSE);
    }
}
