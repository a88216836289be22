//! The part of telnet that a line-based server must know (RFC 854, RFC 855).
//!
//! A telnet client sends commands among the text that the user types. Each command begins with the byte
//! 255, which does not occur in UTF-8. [`Telnet`] removes the commands, wherever the network has split
//! them, and refuses the options that the client requests. With it, a server can be used with `telnet` as
//! well as with `nc`.
//!
//! | bytes that the client sends | become |
//! |---|---|
//! | `IAC WILL`, `WONT`, `DO` or `DONT`, and an option | nothing; the reply to `DO` is `WONT` |
//! | `IAC SB`, any bytes, `IAC SE` | nothing; see [`MAX_SUBNEGOTIATION`] |
//! | `IAC EC`, backspace (8) or delete (127) | nothing; the character before it on the line is erased |
//! | `IAC EL` | nothing; the line so far is erased |
//! | any other `IAC` command, and `IAC IAC` | nothing |
//! | CR NUL, which is Enter in character mode (RFC 1123, section 3.3.1) | CR LF |
//! | `IAC` and a byte that is not a command; `IAC WONT` or `IAC DONT`, and a byte of text | the same bytes: they are not telnet |

use std::io;
#[cfg(unix)]
use std::os::fd::AsFd as AsSock;
#[cfg(windows)]
use std::os::windows::io::AsSocket as AsSock;

use memchr::{memchr_iter, memchr3};
use socket2::SockRef;

/// The longest subnegotiation, in bytes. Bytes after that are treated as text.
///
/// A server that refuses every option should get no subnegotiation at all. But without a limit, if a client
/// began one and did not end it, all further bytes from this client would be ignored. The longest common
/// one, the name of a terminal, has 40 bytes.
pub const MAX_SUBNEGOTIATION: usize = 256;

/// Interpret as command.
const IAC: u8 = 255;
const DONT: u8 = 254;
const DO: u8 = 253;
const WONT: u8 = 252;
const WILL: u8 = 251;
/// Subnegotiation begin.
const SB: u8 = 250;
/// Erase line.
const EL: u8 = 248;
/// Erase character.
const EC: u8 = 247;
/// Subnegotiation end.
const SE: u8 = 240;
/// The command with the lowest number: end of file (RFC 1184).
const FIRST_COMMAND: u8 = 236;

const BACKSPACE: u8 = 8;
const DELETE: u8 = 127;

/// Removes the telnet commands from the bytes that one client sends.
///
/// ```
/// use serverkit::telnet::Telnet;
///
/// let mut telnet = Telnet::default();
/// let mut text = Vec::new();
/// telnet.receive(b"hel\xff\xfd", &mut text); // IAC DO ..., split by the network
/// telnet.receive(b"\x01lp\x7fo\r\n", &mut text); // ... ECHO; and a typing error, which the user erases
/// assert_eq!(text, b"hello\r\n");
/// assert_eq!(telnet.take_answer(), b"\xff\xfc\x01"); // IAC WONT ECHO
/// ```
#[derive(Debug, Default)]
pub struct Telnet {
    next: Next,
    /// The bytes to be sent to the client.
    reply: Vec<u8>,
}

/// What the next byte will be.
#[derive(Clone, Copy, Debug, Default)]
enum Next {
    #[default]
    Text,
    /// Text, after a CR.
    AfterCr,
    /// The byte after an IAC.
    Command,
    /// The option after this command.
    Option(u8),
    /// A byte of a subnegotiation, which has this many bytes so far.
    Sub(usize),
    /// The byte after an IAC in a subnegotiation, which has this many bytes so far.
    SubCommand(usize),
}

impl Telnet {
    /// Appends the text among the received bytes to `text`. Where the client erases characters, removes
    /// them, but only from the last, unfinished line of `text`.
    ///
    /// Returns how many bytes of the earlier text are unchanged. A caller that has already searched the
    /// earlier text for a line end can continue the search from there.
    pub fn receive(&mut self, received: &[u8], text: &mut Vec<u8>) -> usize {
        let mut kept = text.len();
        let mut rest = received;
        while !rest.is_empty() {
            if matches!(self.next, Next::Text | Next::AfterCr) {
                let plain = memchr3(IAC, BACKSPACE, DELETE, rest).unwrap_or(rest.len());
                self.take_plain(&rest[..plain], text);
                rest = &rest[plain..];
            }
            if let Some((byte, after)) = rest.split_first() {
                self.next = self.take_byte(*byte, text);
                kept = kept.min(text.len());
                rest = after;
            }
        }
        kept
    }

    /// Appends text that contains no commands and no characters that erase. Most text is of this kind, so
    /// it is copied in large pieces.
    fn take_plain(&mut self, plain: &[u8], text: &mut Vec<u8>) {
        let Some(last) = plain.last() else { return };
        let mut copied = 0;
        for at in memchr_iter(0, plain) {
            // A zero byte after a CR, which may be in the previous piece, is the second half of Enter.
            let is_enter = match at {
                0 => matches!(self.next, Next::AfterCr),
                _ => plain[at - 1] == b'\r',
            };
            if is_enter {
                text.extend_from_slice(&plain[copied..at]);
                text.push(b'\n');
                copied = at + 1;
            }
        }
        text.extend_from_slice(&plain[copied..]);
        self.next = if *last == b'\r' { Next::AfterCr } else { Next::Text };
    }

    /// Returns the bytes that must be sent to the client at once, usually none, and removes them.
    #[must_use]
    pub fn take_answer(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.reply)
    }

    /// Handles one byte; returns what the next one will be.
    fn take_byte(&mut self, byte: u8, text: &mut Vec<u8>) -> Next {
        match self.next {
            Next::Text | Next::AfterCr if byte == IAC => Next::Command,
            Next::Command => take_command(byte, text),
            Next::Option(command) => self.take_option(command, byte, text),
            Next::Sub(len) if byte == IAC => Next::SubCommand(len),
            Next::SubCommand(_) if byte == SE => Next::Text,
            // Another command: the client has abandoned the subnegotiation.
            Next::SubCommand(_) if (FIRST_COMMAND..IAC).contains(&byte) => take_command(byte, text),
            Next::Sub(len) | Next::SubCommand(len) if len < MAX_SUBNEGOTIATION => {
                Next::Sub(len + 1)
            }
            Next::Text | Next::AfterCr | Next::Sub(_) | Next::SubCommand(_) => {
                take_text(byte, text)
            }
        }
    }

    fn take_option(&mut self, command: u8, option: u8, text: &mut Vec<u8>) -> Next {
        let is_text = option.is_ascii_graphic() || option.is_ascii_whitespace();
        if is_text && matches!(command, WONT | DONT) {
            // A client uses these two commands to reply to a request from the server, and this server makes
            // no requests. But a text in UTF-16 also begins with FF FE. Treated as text, its line ends
            // where the client ends it, and is then reported as wrong.
            text.extend([IAC, command]);
            return take_text(option, text);
        }
        if command == DO {
            // A telnet client waits for this reply: until then, it shows no output after Ctrl-C (RFC 860),
            // and in character mode not even what the user types. An offer (WILL) needs no reply: the
            // client goes on as if it had been refused.
            self.reply.extend([IAC, WONT, option]);
        }
        Next::Text
    }
}

/// Handles the byte after an IAC.
fn take_command(byte: u8, text: &mut Vec<u8>) -> Next {
    match byte {
        WILL | WONT | DO | DONT => return Next::Option(byte),
        SB => return Next::Sub(0),
        EC => erase_char(text),
        EL => while text.pop_if(|last| *last != b'\n').is_some() {},
        FIRST_COMMAND.. => {}
        _ => {
            text.push(IAC);
            return take_text(byte, text);
        }
    }
    Next::Text
}

/// Handles one byte of text.
fn take_text(byte: u8, text: &mut Vec<u8>) -> Next {
    match byte {
        BACKSPACE | DELETE => erase_char(text),
        _ => text.push(byte),
    }
    if byte == b'\r' { Next::AfterCr } else { Next::Text }
}

/// Erases the last character of the unfinished line. In UTF-8 it may have several bytes.
fn erase_char(text: &mut Vec<u8>) {
    while let Some(byte) = text.pop_if(|last| *last != b'\n') {
        let is_continuation = byte & 0b1100_0000 == 0b1000_0000;
        if !is_continuation {
            break;
        }
    }
}

/// Makes the kernel leave urgent bytes in the stream.
///
/// A telnet client may send the last byte of a command as urgent (RFC 854, "The TELNET Synch signal"). By
/// default the kernel takes that byte out of the stream, and the byte after it would seem to be the end of
/// the command.
///
/// # Errors
///
/// Those of the socket.
///
/// ```
/// use std::net::{TcpListener, TcpStream};
///
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// let _client = TcpStream::connect(listener.local_addr()?)?;
/// let (sock, _) = listener.accept()?;
/// serverkit::telnet::keep_urgent_inline(&sock)?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn keep_urgent_inline<S: AsSock>(sock: &S) -> io::Result<()> {
    SockRef::from(sock).set_out_of_band_inline(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the text and the reply; checks that they do not depend on how the bytes are split.
    fn received(bytes: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let mut results = [bytes.len().max(1), 1, 2, 3].map(|size| {
            let mut telnet = Telnet::default();
            let mut text = Vec::new();
            let mut reply = Vec::new();
            for piece in bytes.chunks(size) {
                let before = text.clone();
                let kept = telnet.receive(piece, &mut text);
                assert_eq!(before[..kept], text[..kept]);
                reply.extend(telnet.take_answer());
            }
            (text, reply)
        });
        for result in &results {
            assert_eq!(*result, results[0], "{bytes:?}");
        }
        std::mem::take(&mut results[0])
    }

    fn text(bytes: &[u8]) -> Vec<u8> {
        received(bytes).0
    }

    #[test]
    fn text_is_kept_unchanged() {
        let all_but_erasing: Vec<u8> =
            (0..IAC).filter(|byte| ![BACKSPACE, DELETE].contains(byte)).collect();
        for bytes in [
            "plain\r\nGrüße\n\0\t\x1b".as_bytes(),
            b"a\rb\r\r\n",
            b"\0\0\r",
            b"\xff1,2\n",
            b"\xff\n",
            b"\xff\xfe\n",
            b"\xff\xfe1\0,\0\n\0",
            b"\xff\xfc\r\n",
            b"\xfe\xe9\n",
            &all_but_erasing,
        ] {
            assert_eq!(received(bytes), (bytes.to_vec(), Vec::new()));
        }
    }

    #[test]
    fn a_request_is_refused_and_an_offer_is_ignored() {
        let bytes = b"\xff\xfd\x03\xff\xfb\x18a\xff\xfd\x06b\xff\xfe\x01\xff\xfc\xff\n";
        assert_eq!(received(bytes), (b"ab\n".to_vec(), b"\xff\xfc\x03\xff\xfc\x06".to_vec()));
    }

    #[test]
    fn a_subnegotiation_ends_with_its_end_another_command_or_too_many_bytes() {
        assert_eq!(text(b"a\xff\xfa\x1f\0\xf0\xff\xff\n\xff\0\xff\xf0b"), b"ab");
        assert_eq!(text(b"\xff\xfa\x1fxx\r\n\xff\xfb\x1fback\n"), b"back\n");
        assert_eq!(text(b"ab\xff\xfaxx\xff\xf7c"), b"ac");
        assert_eq!(text(b"\xff\xfaxx\xff\xfayy\xff\xf0c"), b"c");
        let endless = [b"\xff\xfa", &[b'x'; MAX_SUBNEGOTIATION][..], b"text\r\0"].concat();
        assert_eq!(text(&endless), b"text\r\n");
        let endless = [b"\xff\xfa", &b"\xff\xff".repeat(MAX_SUBNEGOTIATION)[..], b"text"].concat();
        assert_eq!(text(&endless), b"text");
    }

    #[test]
    fn only_characters_of_the_unfinished_line_are_erased() {
        for erase in [&b"\x08"[..], b"\x7f", b"\xff\xf7"] {
            let line = |before: &[u8], after: &[u8]| text(&[before, erase, after].concat());
            assert_eq!(line(b"ab", b"c\n"), b"ac\n");
            assert_eq!(line("aé".as_bytes(), b"c"), b"ac");
            assert_eq!(line("a🐶".as_bytes(), b"c"), b"ac");
            assert_eq!(line(b"one\n", b"two"), b"one\ntwo");
            assert_eq!(line(b"", b"two"), b"two");
            assert_eq!(line(b"one\r", b"\0"), b"one\0");
            assert_eq!(line(b"\xa9\xa9\xa9", b"x"), b"x");
        }
        assert_eq!(text(b"one\ntwo\xff\xf8three"), b"one\nthree");
    }

    #[test]
    fn cr_nul_is_enter_and_other_zero_bytes_are_text() {
        assert_eq!(text(b"a\r\0b\0\r\0\0\r\r\0\r\0"), b"a\r\nb\0\r\n\0\r\r\n\r\n");
        assert_eq!(text(b"\xff\xf1\0a\r\x7f\0"), b"\0a\0");
    }

    #[test]
    fn the_unchanged_text_ends_where_something_was_erased() {
        let mut telnet = Telnet::default();
        let mut text = b"one".to_vec();
        assert_eq!(telnet.receive(b"\x7f\x7f\nand more", &mut text), 1);
        assert_eq!(text, b"o\nand more");
    }
}
