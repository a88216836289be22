//! The last scene: what a client costs that does nothing, measured for each stage.

use anyhow::Result;
use probe::procfs::Usage;
use probe::server::Server;
use probe::wire::{Client, prep_msg};
use probe::{TIMEOUT, servers, wait_until};

use super::demo::{megabytes, memory, settled, threads};
use super::page::Page;
use crate::output::print_line;
use crate::stages::ServerPrograms;
use crate::terminal::BOLD;

/// The number of clients.
const CLIENTS: usize = 200;

/// The threads and the memory of a server at one moment.
struct Measurement {
    threads: Option<u64>,
    figures: Option<Usage>,
}

impl Measurement {
    fn of(server: &Server) -> Result<Self> {
        let threads = settled(|| threads(server))?;
        Ok(Self { threads, figures: server.usage() })
    }

    fn threads(&self) -> String {
        self.threads.map_or_else(|| "?".to_owned(), |threads| threads.to_string())
    }
}

pub fn compare(programs: &ServerPrograms, page: &Page) -> Result<()> {
    page.paragraph(&format!(
        "What does a client cost that does nothing? Each stage gets {CLIENTS} of them. Guess first: \
         which stage needs the most threads, and which the most memory? (Memory is the memory that \
         the process occupies now, its resident set.)"
    ))?;
    page.pause("measure")?;
    for heads in [
        ["", "threads", "", "memory", "", ""],
        ["stage", "0 clients", "200 clients", "0 clients", "200 clients", "a client"],
    ] {
        print_line(&format!("{BOLD}{}{BOLD:#}", row(heads)))?;
    }
    let mut notes = Vec::new();
    for stage in servers::stages() {
        notes.extend(measure(programs, stage.name)?);
    }
    if !cfg!(target_os = "linux") {
        notes.push("?: this system does not tell; Linux does.".to_owned());
    }
    print_line("")?;
    notes.iter().try_for_each(|note| page.paragraph(note))
}

fn row([stage, threads, more_threads, memory, more_memory, each]: [&str; 6]) -> String {
    let line = format!(
        "{stage:<12} {threads:>9} {more_threads:>11}   {memory:>9} {more_memory:>11} {each:>10}"
    );
    line.trim_end().to_owned()
}

/// Prints the row of a stage. Returns a note if the stage has not accepted all of its clients.
fn measure(programs: &ServerPrograms, stage: &str) -> Result<Option<String>> {
    let server = programs.start(stage)?;
    warm_up(&server)?;
    let few = Measurement::of(&server)?;
    let mut clients = Vec::new();
    while clients.len() < CLIENTS {
        // Some systems have a shorter backlog.
        match Client::connect(server.addr()) {
            Ok(client) => clients.push(client),
            Err(_) => break,
        }
    }
    let is_accepted = |line: &str| line.contains("Connection from ");
    // Without the client of the warm-up.
    let accepted = || server.log().count(is_accepted).saturating_sub(1);
    if stage == "echo-uni" {
        wait_until(TIMEOUT, || Ok(accepted() > 0))?;
        settled(accepted)?;
    } else {
        wait_until(TIMEOUT, || Ok(accepted() >= clients.len()))?;
    }
    let many = Measurement::of(&server)?;
    let each = few.figures.zip(many.figures).map(|(few, many)| {
        many.resident_bytes.saturating_sub(few.resident_bytes)
            / u64::try_from(accepted()).unwrap_or(1).max(1)
    });
    let each = match each {
        Some(_) if accepted() < clients.len() => "-".to_owned(),
        Some(bytes) => kilobytes(bytes),
        None => "?".to_owned(),
    };
    let (few_memory, many_memory) = (memory(few.figures), memory(many.figures));
    let cells = [stage, &few.threads(), &many.threads(), &few_memory, &many_memory, &each];
    print_line(&row(cells))?;
    let waiting = clients.len() - accepted().min(clients.len());
    let connected = clients.len();
    Ok((waiting > 0 || connected < CLIENTS).then(|| {
        format!(
            "{stage} has accepted {} of its {connected} clients; the other {waiting} wait in the \
             backlog, which is in the kernel's memory and not in the server's.",
            accepted(),
        )
    }))
}

/// Lets a client come and go, so that what the server sets up only once does not count as the cost of a
/// client.
fn warm_up(server: &Server) -> Result<()> {
    let mut client = Client::connect(server.addr())?;
    client.send(&prep_msg("hi"))?;
    client.recv_msg()?;
    let disconnected = format!("Client {} disconnected", client.addr());
    drop(client);
    server.wait_for_log(&disconnected, |line| line.ends_with(&disconnected)).map(drop)
}

fn kilobytes(bytes: u64) -> String {
    match bytes {
        1_000_000.. => megabytes(bytes),
        _ => format!("{}.{} kB", bytes / 1000, bytes % 1000 / 100),
    }
}
