//! The last scene: what clients cost that do nothing, for each stage, measured now.

use anyhow::Result;
use probe::procfs::Figures;
use probe::server::Server;
use probe::wire::{Client, framed};
use probe::{PATIENCE, wait_until};

use super::act::{megabytes, memory, settled, threads};
use super::page::{BOLD, Page, print, styled};
use crate::stages::Stages;

/// How many clients there are in the end.
const CLIENTS: usize = 200;

pub const STAGES: [&str; 5] = ["echo-uni", "echo-multi", "chat-threads", "chat-poll", "chat-async"];

/// One moment of a server.
struct Moment {
    threads: Option<u64>,
    figures: Option<Figures>,
}

impl Moment {
    fn of(server: &Server) -> Result<Self> {
        let threads = settled(|| threads(server))?;
        Ok(Self { threads, figures: server.figures() })
    }

    fn threads(&self) -> String {
        self.threads.map_or_else(|| "?".to_owned(), |threads| threads.to_string())
    }
}

pub fn table(stages: &Stages, page: &Page) -> Result<()> {
    page.prose(&format!(
        "What does a client cost that does nothing? Each stage gets {CLIENTS} of them. Guess first: \
         which stage needs most threads, and which most memory? (Memory is what the process occupies \
         now, called resident.)"
    ))?;
    page.pause("measure")?;
    let heads = ["", "threads", "", "memory", "", ""];
    styled(BOLD, &row(heads))?;
    let heads = ["stage", "0 clients", "200 clients", "0 clients", "200 clients", "a client"];
    styled(BOLD, &row(heads))?;
    let mut notes = Vec::new();
    for stage in STAGES {
        notes.extend(measure(stages, stage)?);
    }
    if threads_unknown() {
        notes.push("?: this system does not tell; Linux would.".to_owned());
    }
    print("")?;
    notes.iter().try_for_each(|note| page.prose(note))
}

fn threads_unknown() -> bool {
    !cfg!(target_os = "linux")
}

fn row([stage, threads, more_threads, memory, more_memory, each]: [&str; 6]) -> String {
    let line = format!(
        "{stage:<12} {threads:>9} {more_threads:>11}   {memory:>9} {more_memory:>11} {each:>10}"
    );
    line.trim_end().to_owned()
}

/// Prints the row of a stage, and gives a note if not all its clients are taken.
fn measure(stages: &Stages, stage: &str) -> Result<Option<String>> {
    let server = stages.start(stage)?;
    warm_up(&server)?;
    let few = Moment::of(&server)?;
    let mut clients = Vec::new();
    while clients.len() < CLIENTS {
        // A system may let fewer wait in the backlog.
        match Client::connect(server.addr()) {
            Ok(client) => clients.push(client),
            Err(_) => break,
        }
    }
    let is_taken = |line: &str| line.contains("Connection from ");
    let taken = || server.log().count(is_taken).saturating_sub(1);
    if stage == "echo-uni" {
        wait_until(PATIENCE, || Ok(taken() > 0))?;
        settled(taken)?;
    } else {
        wait_until(PATIENCE, || Ok(taken() >= clients.len()))?;
    }
    let many = Moment::of(&server)?;
    let each = few.figures.zip(many.figures).map(|(few, many)| {
        many.resident.saturating_sub(few.resident) / u64::try_from(taken()).unwrap_or(1).max(1)
    });
    let each = match each {
        Some(_) if taken() < clients.len() => "-".to_owned(),
        Some(bytes) => kilobytes(bytes),
        None => "?".to_owned(),
    };
    let (few_memory, many_memory) = (memory(few.figures), memory(many.figures));
    let cells = [stage, &few.threads(), &many.threads(), &few_memory, &many_memory, &each];
    print(&row(cells))?;
    let waiting = clients.len() - taken().min(clients.len());
    let connected = clients.len();
    Ok((waiting > 0 || connected < CLIENTS).then(|| {
        format!(
            "{stage} has taken {} of its {connected} clients; the other {waiting} wait in the \
             backlog, which is the kernel's memory and not the server's.",
            taken(),
        )
    }))
}

/// One client comes and goes, so that what is set up only once is there before it counts.
fn warm_up(server: &Server) -> Result<()> {
    let mut client = Client::connect(server.addr())?;
    client.send(&framed("hi"))?;
    client.frame()?;
    let gone = format!("Client {} disconnected", client.addr());
    drop(client);
    server.wait_for_log(&gone, |line| line.ends_with(&gone)).map(drop)
}

fn kilobytes(bytes: u64) -> String {
    match bytes {
        1_000_000.. => megabytes(bytes),
        _ => format!("{}.{} kB", bytes / 1000, bytes % 1000 / 100),
    }
}
