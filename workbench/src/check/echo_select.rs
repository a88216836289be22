//! `echo-select`: the same bytes back, on one thread for all connections.

use anyhow::Result;

use super::ladder::STANDS_ON_ONE;
use super::{Bench, Check, Profile, Talk};
use crate::wire::Client;

pub(super) const TALK: Talk = Talk { exchange, request, answer, once: false };

fn request() -> Vec<u8> {
    b"Message 1 from client.".to_vec()
}

fn answer(client: &mut Client) -> Result<()> {
    client.expect_bytes(&request())
}

fn exchange(client: &mut Client) -> Result<()> {
    client.send(&request())?;
    answer(client)
}

const WHO: &[Profile] = &[Profile::EchoSelect];

pub(super) const ROWS: &[Check] = &[Check {
    id: "select-echo",
    title: "a message comes back, and one more",
    rule: "The server sends back the bytes that it gets, until the client closes.",
    who: WHO,
    after: &[],
    hints: [
        "What comes back is not what was sent, or the connection ends after the first answer.",
        "What is done with what a read has brought, and after it.",
        "Send back the bytes as they are, nothing before or behind them, and go on reading.",
    ],
    read: "variations-protocols.md#echo-select",
    run: twice,
    ..STANDS_ON_ONE
}];

fn twice(bench: &Bench) -> Result<()> {
    let server = bench.serve()?;
    let mut client = bench.connect(&server)?;
    bench.did("A sent \"Message 1 from client.\", and no line end or zero byte behind it");
    exchange(&mut client)?;
    bench.did("A sent the same once more, when it had got it back");
    exchange(&mut client)
}
