//! The scenes of the three chat stages: one chat, served by threads, by a loop, and by tasks.

use std::time::Instant;

use anyhow::Result;
use probe::fail;
use probe::wire::{Client, Received, prep_msg, show};

use super::demo::{Demo, megabytes, memory, millis};
use super::page::Page;
use crate::stages::ServerPrograms;

const THREE: [&str; 3] = ["Ann", "Bob", "Cy"];

/// The guests have no columns of their own.
const WITH_GUESTS: [&str; 3] = ["Ann", "Bob", "Cy and guests"];

/// The number of clients that connect after the first three.
const GUESTS: usize = 47;

pub fn threads_that_talk(programs: &ServerPrograms, page: &Page) -> Result<()> {
    page.paragraph(
        "In a chat, each message goes to all clients, so each thread has to reach all of them. Here \
         each client has two threads and a queue. One thread receives the client's messages and \
         puts them into the queues of all clients; because of a lock, only one thread does so at a \
         time. The other thread sends the messages in the client's own queue.",
    )?;
    let mut demo = Demo::start(programs, page, "chat-threads", &THREE)?;
    demo.expect_threads(1)?;
    demo.table.print()?;
    (0..3).try_for_each(|_| demo.join())?;
    demo.expect_threads(7)?;
    demo.table.pause("all three speak at once")?;

    speak_at_once(&mut demo)?;
    demo.table.paragraph(
        "All clients got the three messages in the same order: the message of the thread that gets \
         the lock first is the first for all. (The log may have another order, because each thread \
         writes its line before it waits for the lock.)",
    )?;
    demo.table.page.paragraph(
        "Next, Cy stops reading. If the server wrote to one client after the other, its write to Cy \
         would soon block, and no other client would get anything any more: a single client that \
         does not read would stop the chat.",
    )?;
    demo.table.pause("Cy stops reading, and Ann says much")?;
    slow_consumer(&mut demo)
}

/// Lets all clients send before any client reads, and expects that all get the same.
fn speak_at_once(demo: &mut Demo<'_>) -> Result<()> {
    const TEXTS: [&str; 3] = ["one", "two", "three"];
    for (client, text) in TEXTS.iter().enumerate() {
        demo.send(client, &prep_msg(text), &format!("says {text}"))?;
    }
    for (client, text) in TEXTS.iter().enumerate() {
        demo.expect_log(&format!("{}: {text}", demo.addr(client)))?;
    }
    demo.table.print()?;
    for _ in TEXTS {
        let first = demo.clients[0].recv_msg()?;
        let text = String::from_utf8_lossy(&first).into_owned();
        demo.table.add(0, format!("gets {text}"));
        (1..3).try_for_each(|client| demo.expect(client, &text))?;
        demo.table.print()?;
    }
    Ok(())
}

/// Lets Ann send until the server disconnects Cy, who does not read. Bob must get all messages during that
/// time.
fn slow_consumer(demo: &mut Demo<'_>) -> Result<()> {
    let before = demo.server.usage();
    let (sent, slowest) = send_until_disconnected(demo)?;
    let cy = demo.addr(2);
    demo.expect_log(&format!("Client {cy} disconnected"))?;
    demo.table.print()?;
    let (frames, end) = demo.clients.remove(2).recv_msgs_to_end()?;
    let end = if end == Received::Eof { "the end" } else { "a reset" };
    let received: usize = frames.iter().map(|frame| frame.len() + 1).sum();
    let received = megabytes(u64::try_from(received)?);
    demo.table.add(2, format!("reads {received}, and then {end}"));
    demo.table.print()?;
    demo.say(1, "still here")?;
    demo.expect_threads(5)?;
    let grown = demo.server.usage().zip(before);
    let grown =
        grown.map(|(now, then)| megabytes(now.resident_bytes.saturating_sub(then.resident_bytes)));
    let grown = grown
        .map(|grown| format!(" Since Cy stopped reading, its memory has grown by {grown}."))
        .unwrap_or_default();
    demo.table.paragraph(&format!(
        "Only the thread that sends to Cy was blocked. The kernel's buffers took what they could; \
         then Cy's queue grew, and after a second without progress the server disconnected Cy, \
         because a queue must not grow without a limit.{grown} Of the {} that Ann sent in that time, no message took longer than \
         {slowest} ms to reach her and Bob.",
        megabytes(sent),
    ))
}

/// Returns the number of bytes that were sent, and the milliseconds that the slowest message took.
fn send_until_disconnected(demo: &mut Demo<'_>) -> Result<(u64, u128)> {
    /// More bytes than any kernel buffers for a connection.
    const MAX_SENT: u64 = 256_000_000;
    /// Half of the bytes that may be queued for a client, so that a client that reads is never disconnected.
    const BATCH: usize = 8;
    let text = "x".repeat(16_000);
    let relayed = format!("{}: {text}", demo.addr(0)).into_bytes();
    let batch = prep_msg(&text).repeat(BATCH);
    let cy = demo.addr(2).to_string();
    let is_warning = |line: &str| line.contains("WARN") && line.contains(&cy);
    let (mut sent, mut slowest, mut shown_at) = (0, 1, 1_000_000);
    while demo.server.log().count(is_warning) == 0 {
        if sent > MAX_SENT {
            let expected = "a warning, and that Cy is disconnected";
            return fail("let Cy stop reading", expected, demo.server.log());
        }
        let begin = Instant::now();
        demo.clients[0].send(&batch)?;
        for receiver in &mut demo.clients[..2] {
            (0..BATCH).try_for_each(|_| expect_frame(receiver, &relayed))?;
        }
        slowest = slowest.max(millis(begin));
        sent += u64::try_from(batch.len())?;
        if sent >= shown_at {
            show_progress(demo, sent)?;
            shown_at *= 2;
        }
    }
    show_progress(demo, sent)?;
    Ok((sent, slowest))
}

fn show_progress(demo: &mut Demo<'_>, sent: u64) -> Result<()> {
    demo.table.add(0, format!("has sent {}", megabytes(sent)));
    demo.table.add(1, "got all of it");
    demo.table.highlight(2, "reads nothing");
    let memory = memory(demo.server.usage());
    demo.table.add(demo.table.server(), format!("= {memory} of memory"));
    demo.table.print()
}

fn expect_frame(client: &mut Client, expected: &[u8]) -> Result<()> {
    let frame = client.recv_msg()?;
    if frame == expected {
        return Ok(());
    }
    fail(client.transcript(), show(expected), show(&frame))
}

pub fn one_loop(programs: &ServerPrograms, page: &Page) -> Result<()> {
    page.paragraph(
        "chat-poll does the same with one thread. It asks the kernel which of its connections are \
         ready to be read or written without waiting (their readiness), does these reads and \
         writes, and asks again. A table keeps the incomplete message of each client, and the bytes \
         that are still to be sent to it.",
    )?;
    let (few, many) = three_and_fifty(programs, page, "chat-poll")?;
    match few.zip(many) {
        Some((few, many)) if few != 1 || many != 1 => {
            fail("counted the threads of chat-poll", "1 and 1", format!("{few} and {many}"))
        }
        Some(_) => page.paragraph(
            "One thread, with three clients and with fifty. It can serve all of them because it \
             never waits for one client, only for all of them at once.",
        ),
        None => page.paragraph("It can serve all clients because it never waits for one client."),
    }
}

pub fn tasks(programs: &ServerPrograms, page: &Page) -> Result<()> {
    page.paragraph(
        "chat-async reads like chat-threads, with tasks in the place of threads. A task is a \
         function that can stop wherever it would have to wait, so that its thread can run another \
         task. A few threads, whose number depends on the processors, run all tasks.",
    )?;
    let processors = std::thread::available_parallelism()?;
    match three_and_fifty(programs, page, "chat-async")? {
        (Some(few), Some(many)) if many > few => {
            fail("counted the threads of chat-async", format!("{few} as before"), many)
        }
        (Some(few), Some(many)) => page.paragraph(&format!(
            "Two tasks for each client, and {few} threads with three clients, {many} with fifty: \
             one accepts connections, one asks the kernel which sockets are ready, and the others \
             run the tasks (processors here: {processors})."
        )),
        _ => page.paragraph("A client costs two tasks, and no thread."),
    }
}

/// Returns the number of threads with three clients, and with fifty.
fn three_and_fifty(
    programs: &ServerPrograms,
    page: &Page,
    stage: &str,
) -> Result<(Option<u64>, Option<u64>)> {
    let mut demo = Demo::start(programs, page, stage, &WITH_GUESTS)?;
    (0..3).try_for_each(|_| demo.join())?;
    let few = demo.threads()?;
    demo.table.pause(&format!("{GUESTS} more join"))?;
    guests_join(&mut demo)?;
    all_get(&mut demo, "hi all")?;
    let many = demo.threads()?;
    demo.table.end()?;
    Ok((few, many))
}

/// Connects the guests. A guest has joined when it has said something and has got it.
fn guests_join(demo: &mut Demo<'_>) -> Result<()> {
    demo.table.add(2, format!("{GUESTS} guests connect"));
    for _ in 0..GUESTS {
        let client = Client::connect(demo.server.addr())?;
        demo.table.name(client.addr(), "a guest");
        demo.clients.push(client);
    }
    for guest in 3..demo.clients.len() {
        demo.expect_accepted(guest)?;
    }
    demo.table.print()?;
    demo.table.add(2, "each guest says hi");
    for guest in 3..demo.clients.len() {
        let relayed = format!("{}: hi", demo.addr(guest)).into_bytes();
        demo.clients[guest].send_msg("hi")?;
        read_until(&mut demo.clients[guest], &relayed)?;
    }
    for guest in 3..demo.clients.len() {
        demo.expect_log(&format!("{}: hi", demo.addr(guest)))?;
    }
    demo.table.print()
}

/// Lets Ann say something, and expects that all clients get it, after the messages that they have not read
/// yet.
fn all_get(demo: &mut Demo<'_>, text: &str) -> Result<()> {
    let relayed = format!("{}: {text}", demo.addr(0));
    demo.send(0, &prep_msg(text), &format!("says {text}"))?;
    demo.expect_log(&relayed)?;
    demo.table.print()?;
    for client in &mut demo.clients {
        read_until(client, relayed.as_bytes())?;
    }
    for client in 0..2 {
        demo.table.add(client, format!("gets {relayed}"));
    }
    demo.table.add(2, format!("all {} get {relayed}", demo.clients.len() - 2));
    demo.table.print()
}

fn read_until(client: &mut Client, expected: &[u8]) -> Result<()> {
    while client.recv_msg()? != expected {}
    Ok(())
}
