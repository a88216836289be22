//! `calc`: a calculator that reads lines, with a mode for each client.

use anyhow::Result;

use super::ladder::STANDS_ON_ONE;
use super::{Bench, Check, Profile, Talk};
use crate::fail;
use crate::wire::{Client, show};

pub(super) const TALK: Talk = Talk { exchange, request, answer, once: false };

/// The welcome has come.
struct Welcomed;

fn request() -> Vec<u8> {
    b"5,-9,10\n".to_vec()
}

fn answer(client: &mut Client) -> Result<()> {
    if client.recall::<Welcomed>().is_none() {
        client.expect_bytes(b"<welcome: starting in sum mode>\n")?;
    }
    client.remember(Welcomed);
    let line = client.line()?;
    let numbers = b"Sum of input numbers: '6'\r\n";
    let is_right = [&numbers[..], b"Sum of input integers: '6'\r\n"].contains(&&line[..]);
    if is_right { Ok(()) } else { fail(client.transcript(), show(numbers), show(&line)) }
}

fn exchange(client: &mut Client) -> Result<()> {
    client.send(&request())?;
    answer(client)
}

const WHO: &[Profile] = &[Profile::Calc];

pub(super) const ROWS: &[Check] = &[Check {
    id: "calc-sum",
    title: "a sum, and one more",
    rule: "The server greets, and answers each line of integers with their sum.",
    who: WHO,
    after: &[],
    hints: [
        "The welcome or the answer has not the bytes that the protocol asks for.",
        "The line ends: the welcome's is ␊, the answer's ␍␊.",
        "Send `<welcome: starting in sum mode>␊`, and for a list `Sum of input numbers: '6'␍␊`.",
    ],
    read: "variations-protocols.md#calc",
    run: twice,
    ..STANDS_ON_ONE
}];

fn twice(bench: &Bench) -> Result<()> {
    let server = bench.serve()?;
    let mut client = bench.connect(&server)?;
    bench.did("A sent \"5,-9,10␊\"");
    exchange(&mut client)?;
    bench.did("A sent the same once more, when it had got the answer");
    exchange(&mut client)
}
