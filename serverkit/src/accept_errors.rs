use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

use crate::log_limit::{Reason, warn_limited};

/// The pause after the first error that is caused by a lack of resources.
const FIRST_PAUSE: Duration = Duration::from_millis(10);

/// The longest pause. While the lack of resources lasts, each pause is twice as long as the one before it.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Handles the errors of `accept`.
///
/// There are two kinds (accept(2)). Some errors concern only the connection that was to be accepted: the
/// next one can be accepted at once. All others are caused by a lack of resources, most often of
/// descriptors. The connection stays in the backlog, and the next call would fail in the same way, so the
/// server has to wait.
#[derive(Debug, Default)]
pub(crate) struct AcceptErrors {
    last_lack: Option<Lack>,
}

/// An error that is caused by a lack of resources.
#[derive(Debug)]
struct Lack {
    at: Instant,
    pause: Duration,
}

impl AcceptErrors {
    /// Logs an error of `accept`, and returns how long to wait before the next call.
    pub(crate) fn pause(&mut self, err: &io::Error) -> Duration {
        // A signal came during the call, which is not worth a line in the log.
        if err.kind() == ErrorKind::Interrupted {
            return Duration::ZERO;
        }
        if concerns_one_connection(err) {
            warn_limited(Reason::Accept(err.kind()), || format!("accept failed: {err}"));
            return Duration::ZERO;
        }
        let now = Instant::now();
        let pause = match &self.last_lack {
            Some(last) if now - last.at < 2 * LONGEST_PAUSE => (2 * last.pause).min(LONGEST_PAUSE),
            _ => FIRST_PAUSE,
        };
        self.last_lack = Some(Lack { at: now, pause });
        warn_limited(Reason::Resources(err.kind()), || {
            format!("accept failed, trying again after {pause:?}: {err}")
        });
        pause
    }
}

/// Reports whether an error of `accept` concerns only one connection.
fn concerns_one_connection(err: &io::Error) -> bool {
    matches!(
        err.kind(),
        // The client closed or reset the connection while it was in the backlog.
        ErrorKind::ConnectionAborted
            | ErrorKind::ConnectionReset
            // A network error, which Linux reports for a connection in the backlog.
            | ErrorKind::HostUnreachable
            | ErrorKind::NetworkDown
            | ErrorKind::NetworkUnreachable
            | ErrorKind::TimedOut
            // A firewall forbids the connection.
            | ErrorKind::PermissionDenied
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lack_of_descriptors_pauses_longer_each_time() {
        let mut accept_errors = AcceptErrors::default();
        let lack = || io::Error::other("too many open files");
        assert_eq!(accept_errors.pause(&ErrorKind::ConnectionAborted.into()), Duration::ZERO);
        assert_eq!(accept_errors.pause(&lack()), FIRST_PAUSE);
        assert_eq!(accept_errors.pause(&lack()), 2 * FIRST_PAUSE);
        for _ in 0..10 {
            accept_errors.pause(&lack());
        }
        assert_eq!(accept_errors.pause(&lack()), LONGEST_PAUSE);
    }
}
