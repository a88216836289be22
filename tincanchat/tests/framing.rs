//! Checks that any list of messages, split anywhere, is received unchanged, and that nothing that a peer
//! can send costs more than it should.

#![allow(clippy::unwrap_used)]

use std::io::{self, Read};

use proptest::prelude::*;
use tincanchat::{
    FrameError, MAX_MSG_LEN, READ_TURN, RecvBuf, parse_recvd_data, prep_msg, printable, recv_msg,
    recv_msgs,
};

/// Stands for a socket: returns its bytes in pieces of these sizes, again and again.
struct Pieces<'a> {
    bytes: &'a [u8],
    sizes: &'a [usize],
    reads: usize,
}

impl Read for Pieces<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let size = self.sizes[self.reads % self.sizes.len()];
        self.reads += 1;
        let n = size.min(buf.len()).min(self.bytes.len());
        buf[..n].copy_from_slice(&self.bytes[..n]);
        self.bytes = &self.bytes[n..];
        Ok(n)
    }
}

/// Receives everything: returns the messages, the error at the end, if any, and the number of bytes left
/// over.
fn receive_all(bytes: &[u8], sizes: &[usize]) -> (Vec<String>, Option<FrameError>, usize) {
    let mut sock = Pieces { bytes, sizes, reads: 0 };
    let mut rest = RecvBuf::new();
    let mut texts = Vec::new();
    while let Some(msgs) = recv_msgs(&mut sock, &mut rest).unwrap() {
        for msg in msgs {
            match msg {
                Ok(msg) => texts.push(msg.to_owned()),
                Err(err) => return (texts, Some(err), 0),
            }
        }
    }
    (texts, None, rest.len())
}

fn wire(msgs: &[String]) -> Vec<u8> {
    msgs.iter().flat_map(|msg| prep_msg(msg).unwrap()).collect()
}

fn texts() -> impl Strategy<Value = Vec<String>> {
    let short = "[^\0]{0,20}";
    let long = (900_usize..8000).prop_map(|n| "é".repeat(n));
    proptest::collection::vec(prop_oneof![9 => short.boxed(), 1 => long.boxed()], 0..20)
}

fn sizes() -> impl Strategy<Value = Vec<usize>> {
    proptest::collection::vec(prop_oneof![1_usize..8, 1_usize..5000, Just(READ_TURN)], 1..8)
}

proptest! {
    #[test]
    fn any_split_of_any_list_gives_back_the_list(texts in texts(), sizes in sizes()) {
        let sent: Vec<_> = texts.iter().filter(|text| !text.is_empty()).cloned().collect();
        prop_assert_eq!(receive_all(&wire(&texts), &sizes), (sent, None, 0));
    }

    #[test]
    fn whatever_arrives_the_answer_does_not_depend_on_the_cuts(
        bytes in proptest::collection::vec(prop_oneof![3 => 0_u8..3, 1 => any::<u8>()], 0..200),
        sizes in sizes(),
    ) {
        prop_assert_eq!(receive_all(&bytes, &sizes), receive_all(&bytes, &[READ_TURN]));
    }

    #[test]
    fn parsing_undoes_preparing(text in "[^\0]{1,300}") {
        let bytes = prep_msg(&text).unwrap();
        prop_assert_eq!(recv_msg(&mut &bytes[..]).unwrap(), text);
    }

    #[test]
    fn a_zero_byte_never_makes_two_messages(before in "[^\0]{0,9}", after in ".{0,9}") {
        let err = prep_msg(&format!("{before}\0{after}")).unwrap_err();
        prop_assert_eq!(err, FrameError::InnerNul { at: before.len() });
    }

    #[test]
    fn printable_text_has_no_control_characters_and_keeps_the_others(text in any::<String>()) {
        let shown = printable(&text);
        prop_assert!(shown.chars().all(is_kept));
        prop_assert_eq!(printable(&shown).into_owned(), shown.clone().into_owned());
        if text.chars().all(is_kept) {
            prop_assert_eq!(shown.into_owned(), text);
        }
    }
}

fn outcome(data: &[u8], size: usize) -> (Vec<String>, Option<FrameError>, usize) {
    receive_all(data, &[size])
}

#[test]
fn the_longest_message_is_taken_and_one_byte_more_is_not() {
    let longest = "x".repeat(MAX_MSG_LEN);
    assert_eq!(prep_msg(&longest).unwrap().len(), MAX_MSG_LEN + 1);
    let too_long = format!("{longest}x");
    let err = FrameError::TooLong { limit: MAX_MSG_LEN };
    assert_eq!(prep_msg(&too_long), Err(err));
    for size in [1, 7, 4096, READ_TURN] {
        let wire = format!("a\0{longest}\0").into_bytes();
        assert_eq!(outcome(&wire, size), (vec!["a".to_owned(), longest.clone()], None, 0));
        // The result is the same whether or not the end of the message has arrived.
        for end in ["", "\0", "more and more\0"] {
            let wire = format!("a\0{too_long}{end}").into_bytes();
            assert_eq!(outcome(&wire, size), (vec!["a".to_owned()], Some(err), 0));
        }
    }
}

#[test]
fn bad_utf8_is_an_error_after_the_messages_before_it() {
    let err = FrameError::NotUtf8 { len: 3, valid_up_to: 1 };
    for size in [1, 2, 3, 100] {
        let end = outcome(b"one\0a\xffb\0two\0", size);
        assert_eq!(end, (vec!["one".to_owned()], Some(err), 0));
    }
}

#[test]
fn bytes_without_their_end_stay_in_the_rest() {
    assert_eq!(outcome(b"one\0tw", 2), (vec!["one".to_owned()], None, 2));
}

#[test]
fn a_stream_of_zero_bytes_gives_control_back() {
    struct Endless;
    impl Read for Endless {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            buf.fill(0);
            Ok(buf.len())
        }
    }
    let mut rest = RecvBuf::new();
    for _ in 0..100 {
        let msgs = recv_msgs(&mut Endless, &mut rest).unwrap().unwrap();
        assert_eq!(msgs.count(), 0);
    }
}

#[test]
fn messages_not_asked_for_stay() {
    let mut rest = RecvBuf::new();
    rest.extend(b"one\0two\0thr");
    assert_eq!(parse_recvd_data(&mut rest).next(), Some(Ok("one")));
    rest.extend(b"ee\0");
    let msgs: Vec<_> = parse_recvd_data(&mut rest).map(Result::unwrap).collect();
    assert_eq!(msgs, ["two", "three"]);
    assert!(rest.is_empty());
}

#[test]
fn each_character_is_printable_as_it_is_or_escaped() {
    for c in '\0'..=char::MAX {
        let shown = printable(c.encode_utf8(&mut [0; 4])).into_owned();
        if is_kept(c) {
            assert_eq!(shown, c.to_string());
        } else {
            assert_eq!(shown, c.escape_default().to_string());
        }
    }
}

/// Reports whether `printable` keeps a character. It escapes C0 except the tab, DEL, C1, the line and
/// paragraph separators, and the characters with the property `Bidi_Control` in Unicode's PropList.txt.
fn is_kept(c: char) -> bool {
    let separators = [0x2028, 0x2029];
    let bidi_controls = [0x061c, 0x200e, 0x200f, 0x202a, 0x202b, 0x202c, 0x202d, 0x202e];
    let isolates = 0x2066..=0x2069;
    let code = u32::from(c);
    let is_listed =
        separators.contains(&code) || bidi_controls.contains(&code) || isolates.contains(&code);
    c == '\t' || !(c.is_control() || is_listed)
}
