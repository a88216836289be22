//! A chat of lines, with commands, names and rooms.
//!
//! What a line means depends on where the session is: at the login, in a room, or on its way out. So
//! that is an enum, and what a session has only in one place is in that variant. A command says where
//! it can be used by the kind of function that it is: one for a room gets the guest, so that there is
//! none without a name.
//!
//! Run it:      `cargo run -p tea-party`
//! Talk to it:  `nc 127.0.0.1 5005`, or `telnet 127.0.0.1 5005`, in three terminals
//! Compare:     `simple-chat`, where a session has one state.
//! Bad at:      secrets and impostors. Whispers go unencrypted over the wire and into the log, a name
//!              is whoever takes it first, and two that look alike (a Latin a, a Cyrillic а) are two.

mod commands;

use std::collections::HashMap;
use std::rc::Rc;

use anyhow::Result;
use clap::Parser;
use tea_party::{Chat, Clients, Id, NAME, Name, PORT, Rooms, serve};
use tincanchat::cli::{Failure, ServerArgs};
use tincanchat::printable;

use commands::{COMMANDS, Run};

/// The room that everybody enters first.
const ENTRANCE: &str = "parlour";

/// Variation: a chat of lines with commands, names and rooms
#[derive(Parser)]
#[command(version, mut_arg("port", |arg| arg.default_value(PORT)))]
#[command(after_help = concat!("Examples:\n  ", env!("CARGO_BIN_NAME"), " --host :: --port 5000 -v"))]
struct Args {
    #[command(flatten)]
    server: ServerArgs,
    /// What the chat is called when it greets somebody
    #[arg(long, default_value = NAME)]
    name: String,
    /// Say every line that does not begin with a slash
    #[arg(long)]
    slash: bool,
}

fn main() -> Result<(), Failure> {
    let args = Args::parse();
    let _log = args.server.start_log()?;
    let rooms = Rooms::new(Rc::new(Name::new(ENTRANCE)?));
    let (sessions, logged_in) = (HashMap::new(), Vec::new());
    let Args { name, slash, .. } = args;
    serve(&args.server, TeaParty { name, slash, sessions, logged_in, rooms })?;
    Ok(())
}

/// Where a session is, and what it has there.
#[derive(Clone)]
enum Session {
    Login,
    Room(Guest),
    Logout,
}

#[derive(Clone)]
struct Guest {
    id: Id,
    name: Rc<Name>,
    room: Rc<Name>,
}

struct TeaParty {
    name: String,
    slash: bool,
    sessions: HashMap<Id, Session>,
    /// In order of arrival.
    logged_in: Vec<Id>,
    rooms: Rooms,
}

impl Chat for TeaParty {
    fn arrived(&mut self, id: Id, clients: &mut Clients) {
        self.sessions.insert(id, Session::Login);
        clients.tell(&[id], format!("Welcome to {}", self.name));
    }

    fn heard(&mut self, id: Id, line: &[u8], clients: &mut Clients) {
        let line = String::from_utf8_lossy(line);
        let (command, has_slash) = match line.trim_start().strip_prefix('/') {
            Some(command) => (command.trim_start(), true),
            None => (line.trim_start(), false),
        };
        // One blank ends the word. The others are the text's: what is said is said as it was typed.
        let (word, rest) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
        let Some(session) = self.sessions.get(&id).cloned().filter(|_| !word.is_empty()) else {
            return;
        };
        let command = COMMANDS.iter().find(|it| it.word == word).map(|it| it.run);
        match (session, command) {
            (Session::Room(guest), _) if self.slash && !has_slash => {
                self.say(&guest, &line, clients);
            }
            (Session::Login, Some(Run::AtLogin(run))) => run(self, id, rest.trim(), clients),
            (Session::Room(guest), Some(Run::InRoom(run))) => run(self, &guest, rest, clients),
            (Session::Login | Session::Room(_), Some(Run::Anywhere(run))) => run(self, id, clients),
            (Session::Login, _) => clients.tell(&[id], "Please log in\nUse \"login <nick>\""),
            (Session::Room(_), _) => {
                clients.tell(&[id], format!("Unknown command: {}", printable(word)));
            }
            (Session::Logout, _) => {}
        }
    }

    fn left(&mut self, id: Id, clients: &mut Clients) {
        self.log_out(id, clients);
        self.sessions.remove(&id);
    }
}

/// What the commands are made of.
impl TeaParty {
    fn guest(&self, name: &Name) -> Option<&Guest> {
        self.logged_in.iter().filter_map(|id| self.guest_of(*id)).find(|it| *it.name == *name)
    }

    fn guest_of(&self, id: Id) -> Option<&Guest> {
        match self.sessions.get(&id)? {
            Session::Room(guest) => Some(guest),
            Session::Login | Session::Logout => None,
        }
    }

    /// Lets somebody enter a room, out of another if need be.
    fn enter(&mut self, mut guest: Guest, clients: &mut Clients) {
        guest.room = match self.rooms.enter(&guest.room, guest.id) {
            Ok(room) => room,
            Err(err) => return clients.tell(&[guest.id], err.to_string()),
        };
        self.leave_room(guest.id, clients);
        let here = self.rooms.who_is_in(&guest.room);
        let others: Vec<_> = here.iter().copied().filter(|id| *id != guest.id).collect();
        clients.tell(&others, format!("{} has entered the room.", guest.name));
        self.sessions.insert(guest.id, Session::Room(guest));
    }

    fn leave_room(&mut self, id: Id, clients: &mut Clients) {
        let Some(Guest { name, room, .. }) = self.guest_of(id).cloned() else { return };
        self.rooms.leave(&room, id);
        clients.tell(self.rooms.who_is_in(&room), format!("{name} has left the room."));
    }

    fn log_out(&mut self, id: Id, clients: &mut Clients) {
        self.leave_room(id, clients);
        self.logged_in.retain(|it| *it != id);
        self.sessions.insert(id, Session::Logout);
    }
}
