use std::net::SocketAddr;

use tracing::info;

use crate::{FrameError, Msgs, append_msg, printable};

/// Makes of the messages that a client has sent the frames that the others get: `ADDR: message`, one
/// after the other, the address formatted once. Logs each message.
///
/// Gives the frames of all messages up to one that is wrong, and with it what is wrong: whole messages
/// that came before it still count.
///
/// ```
/// use tincanchat::{FrameError, Rest, cli::relay_msgs, parse_recvd_data};
///
/// let mut rest = Rest::new();
/// rest.extend(b"one\0two\0\xff\0three\0");
/// let addr = "127.0.0.1:50312".parse().unwrap();
/// let (frames, wrong) = relay_msgs(addr, parse_recvd_data(&mut rest));
/// assert_eq!(&frames[..], b"127.0.0.1:50312: one\x00127.0.0.1:50312: two\0");
/// assert_eq!(wrong, Err(FrameError::NotUtf8 { len: 1, valid_up_to: 0 }));
/// ```
pub fn relay_msgs(addr: SocketAddr, msgs: Msgs<'_>) -> (Vec<u8>, Result<(), FrameError>) {
    let prefix = format!("{addr}: ");
    let mut frames = Vec::new();
    for msg in msgs {
        match msg {
            Ok(msg) => {
                info!("{addr}: {}", printable(msg));
                append_msg(&mut frames, &prefix, msg);
            }
            Err(err) => return (frames, Err(err)),
        }
    }
    (frames, Ok(()))
}
