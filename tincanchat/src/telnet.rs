//! Telnet, as far as a server of lines has to know it (RFC 854, RFC 855).
//!
//! A telnet client mixes commands with the text that is typed into it: each begins with the byte
//! 255, which is in no UTF-8 text. [`Telnet`] takes the commands out, wherever the network has cut
//! them, and says no to what the client asks for. A server that receives through it can be talked to
//! with `telnet` as with `nc`.
//!
//! | in what a client sends | becomes |
//! |---|---|
//! | `IAC WILL`, `WONT`, `DO`, `DONT` and an option | nothing; `DO` is answered with `WONT` |
//! | `IAC SB`, then anything, then `IAC SE` | nothing; see [`MAX_SUBNEGOTIATION`] |
//! | `IAC EC`, backspace (8) or delete (127) | the character before it on the line is erased |
//! | `IAC EL` | the line so far is erased |
//! | any other `IAC` command, and `IAC IAC` | nothing |
//! | CR NUL: Enter, in character mode (RFC 1123, section 3.3.1) | CR LF |
//! | an `IAC` that begins no command; `WONT` or `DONT`, and a byte of text | itself: these bytes are not telnet's |

use std::io;
#[cfg(unix)]
use std::os::fd::AsFd as AsSock;
#[cfg(windows)]
use std::os::windows::io::AsSocket as AsSock;

use memchr::{memchr_iter, memchr3};
use socket2::SockRef;

/// The longest subnegotiation, in bytes. The bytes after that are text again.
///
/// A server that agrees to no option is sent none, so this is for a client that begins one and does
/// not end it: without a limit, nothing that it sends would ever be heard again. The longest that is
/// usual, the name of a terminal, has 40 bytes.
pub const MAX_SUBNEGOTIATION: usize = 256;

const IAC: u8 = 255;
const DONT: u8 = 254;
const DO: u8 = 253;
const WONT: u8 = 252;
const WILL: u8 = 251;
const SB: u8 = 250;
/// Erase line.
const EL: u8 = 248;
/// Erase character.
const EC: u8 = 247;
const SE: u8 = 240;
/// The command with the lowest number: end of file (RFC 1184).
const FIRST_COMMAND: u8 = 236;

const BACKSPACE: u8 = 8;
const DELETE: u8 = 127;

/// Removes the telnet commands from the bytes that one client sends.
///
/// ```
/// use tincanchat::telnet::Telnet;
///
/// let (mut telnet, mut text) = (Telnet::default(), Vec::new());
/// telnet.receive(b"hel\xff\xfd", &mut text); // a request, cut by the network: IAC DO ...
/// telnet.receive(b"\x01lp\x7fo\r\n", &mut text); // ... ECHO; and a typing error
/// assert_eq!(text, b"hello\r\n");
/// assert_eq!(telnet.take_answer(), b"\xff\xfc\x01"); // IAC WONT ECHO
/// ```
#[derive(Debug, Default)]
pub struct Telnet {
    next: Next,
    answer: Vec<u8>,
}

/// What the next byte is.
#[derive(Clone, Copy, Debug, Default)]
enum Next {
    #[default]
    Text,
    /// Text, after a CR.
    AfterCr,
    /// The command that follows an IAC.
    Command,
    /// The option that this command is about.
    Option(u8),
    /// Part of a subnegotiation, with the number of its bytes so far.
    Sub(usize),
    /// The byte that follows an IAC in a subnegotiation.
    SubCommand(usize),
}

impl Telnet {
    /// Appends the text among the received bytes to `text`, whose last line may be unfinished, and
    /// erases what the client erases, of that line and no other.
    ///
    /// Returns how many bytes of the text from before have been kept. The caller that has searched
    /// that text for the end of a line searches on from there.
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

    /// Copies text that erases nothing and holds no command, as most text does, all at once.
    fn take_plain(&mut self, plain: &[u8], text: &mut Vec<u8>) {
        let Some(last) = plain.last() else { return };
        let mut copied = 0;
        for at in memchr_iter(0, plain) {
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

    /// Returns what is to be sent to the client at once, and forgets it. It is usually empty.
    #[must_use]
    pub fn take_answer(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.answer)
    }

    fn take_byte(&mut self, byte: u8, text: &mut Vec<u8>) -> Next {
        match self.next {
            Next::Text | Next::AfterCr if byte == IAC => Next::Command,
            Next::Command => take_command(byte, text),
            Next::Option(command) => self.take_option(command, byte, text),
            Next::Sub(len) if byte == IAC => Next::SubCommand(len),
            Next::SubCommand(_) if byte == SE => Next::Text,
            // Another command: the client has given up the subnegotiation.
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
            // These two answer a server that has asked for something, and this one does not ask. But
            // FF FE is how text in UTF-16 begins; its line has to end where the client ends it, and
            // be told to be wrong.
            text.extend([IAC, command]);
            return take_text(option, text);
        }
        if command == DO {
            // A telnet client waits for this: after Ctrl-C it shows nothing before (RFC 860), and in
            // character mode it does not even show what is typed. An offer (WILL) needs no answer:
            // the client goes on without, as if it had been refused.
            self.answer.extend([IAC, WONT, option]);
        }
        Next::Text
    }
}

/// Takes the byte that follows an IAC.
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

fn take_text(byte: u8, text: &mut Vec<u8>) -> Next {
    match byte {
        BACKSPACE | DELETE => erase_char(text),
        _ => text.push(byte),
    }
    if byte == b'\r' { Next::AfterCr } else { Next::Text }
}

/// Erases the last character of the unfinished line, which in UTF-8 may have several bytes.
fn erase_char(text: &mut Vec<u8>) {
    while let Some(byte) = text.pop_if(|last| *last != b'\n') {
        let is_continuation = byte & 0b1100_0000 == 0b1000_0000;
        if !is_continuation {
            break;
        }
    }
}

/// Tells the kernel to leave urgent bytes in the stream.
///
/// A telnet client may send the last byte of a command as urgent (RFC 854, "The TELNET Synch
/// signal"). By default the kernel takes that byte out, and the byte behind it would be taken for
/// the rest of the command.
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
/// tincanchat::telnet::keep_urgent_inline(&sock)?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn keep_urgent_inline<S: AsSock>(sock: &S) -> io::Result<()> {
    SockRef::from(sock).set_out_of_band_inline(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the text and the answer, which must not depend on how the bytes are cut.
    fn received(bytes: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let mut results = [bytes.len().max(1), 1, 2, 3].map(|size| {
            let (mut telnet, mut text, mut answer) = (Telnet::default(), Vec::new(), Vec::new());
            for piece in bytes.chunks(size) {
                let before = text.clone();
                let kept = telnet.receive(piece, &mut text);
                assert_eq!(before[..kept], text[..kept]);
                answer.extend(telnet.take_answer());
            }
            (text, answer)
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
    fn what_is_not_telnets_is_kept_as_it_is() {
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
    fn a_request_is_refused_and_an_offer_is_passed_over() {
        let bytes = b"\xff\xfd\x03\xff\xfb\x18a\xff\xfd\x06b\xff\xfe\x01\xff\xfc\xff\n";
        assert_eq!(received(bytes), (b"ab\n".to_vec(), b"\xff\xfc\x03\xff\xfc\x06".to_vec()));
    }

    #[test]
    fn a_subnegotiation_ends_by_its_end_by_another_command_or_by_its_length() {
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
    fn erasing_takes_characters_of_the_unfinished_line_alone() {
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
    fn what_was_kept_ends_where_something_was_erased() {
        let (mut telnet, mut text) = (Telnet::default(), b"one".to_vec());
        assert_eq!(telnet.receive(b"\x7f\x7f\nand more", &mut text), 1);
        assert_eq!(text, b"o\nand more");
    }
}
