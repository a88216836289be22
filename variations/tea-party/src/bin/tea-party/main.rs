//! A chat of lines, with commands, names and rooms.
//!
//! The meaning of a line depends on the state of the session: before the login, in a room, or after the
//! logout. So the state is an enum, and the data that a session has in only one state is in the variant for
//! that state. The type of a command's function says in which state the command can be used: a function for
//! a room takes the user, so it cannot be called for a client without a name.
//!
//! Run it:      `cargo run -p tea-party`
//! Talk to it:  `nc 127.0.0.1 5005`, or `telnet 127.0.0.1 5005`, in three terminals
//! Compare:     `simple-chat`, where a session has one state.
//! Bad at:      secrets and impostors. Private lines are sent without encryption and appear in the log. A
//!              name belongs to the first user who takes it. Two names that only look alike (with a Latin
//!              a, and with a Cyrillic а) are different names.

mod commands;

use std::collections::HashMap;
use std::rc::Rc;

use anyhow::Result;
use clap::Parser;
use serverkit::{Failure, ServerArgs};
use tea_party::{Chat, Clients, DEFAULT_NAME, DEFAULT_PORT, Id, Name, Rooms, serve};
use tincanchat::printable;

use commands::{COMMANDS, Handler};

/// The room that every user joins at login.
const FIRST_ROOM: &str = "parlour";

/// Variation: a chat of lines with commands, names and rooms
#[derive(Parser)]
#[command(version, mut_arg("port", |arg| arg.default_value(DEFAULT_PORT)))]
#[command(after_help = concat!("Examples:\n  ", env!("CARGO_BIN_NAME"), " --host :: --port 5000 -v"))]
struct Args {
    #[command(flatten)]
    server: ServerArgs,
    /// Name of the chat, shown in its welcome
    #[arg(long, default_value = DEFAULT_NAME)]
    name: String,
    /// Treat every line that does not begin with a slash as text to say
    #[arg(long)]
    slash: bool,
}

fn main() -> Result<(), Failure> {
    let args = Args::parse();
    let _log = args.server.start_log()?;
    let tea_party = TeaParty {
        name: args.name,
        needs_slash: args.slash,
        sessions: HashMap::new(),
        logged_in: Vec::new(),
        rooms: Rooms::new(Rc::new(Name::new(FIRST_ROOM)?)),
    };
    serve(&args.server, tea_party)?;
    Ok(())
}

/// The state of a session, with the data that it has in that state.
#[derive(Clone)]
enum Session {
    BeforeLogin,
    InRoom(User),
    AfterLogout,
}

/// A client that has logged in.
#[derive(Clone)]
struct User {
    id: Id,
    name: Rc<Name>,
    room: Rc<Name>,
}

struct TeaParty {
    name: String,
    /// Whether a command must begin with a slash.
    needs_slash: bool,
    sessions: HashMap<Id, Session>,
    /// The clients that are logged in, in the order of their logins.
    logged_in: Vec<Id>,
    rooms: Rooms,
}

impl Chat for TeaParty {
    fn on_connect(&mut self, id: Id, clients: &mut Clients) {
        self.sessions.insert(id, Session::BeforeLogin);
        clients.send_line(&[id], format!("Welcome to {}", self.name));
    }

    fn on_line(&mut self, id: Id, line: &[u8], clients: &mut Clients) {
        let line = String::from_utf8_lossy(line);
        let command_line = line.trim_start();
        let (command_line, has_slash) = match command_line.strip_prefix('/') {
            Some(after_slash) => (after_slash.trim_start(), true),
            None => (command_line, false),
        };
        // One blank ends the word. Any other blanks belong to the text, which is relayed as it was typed.
        let (word, text) =
            command_line.split_once(char::is_whitespace).unwrap_or((command_line, ""));
        if word.is_empty() {
            return; // an empty line
        }
        let Some(session) = self.sessions.get(&id).cloned() else {
            return;
        };
        let command = COMMANDS.iter().find(|command| command.word == word);
        let handler = command.map(|command| command.handler);
        match (session, handler) {
            (Session::InRoom(user), _) if self.needs_slash && !has_slash => {
                self.say(&user, &line, clients);
            }
            (Session::BeforeLogin, Some(Handler::BeforeLogin(run))) => {
                run(self, id, text.trim(), clients);
            }
            (Session::InRoom(user), Some(Handler::InRoom(run))) => run(self, &user, text, clients),
            (Session::BeforeLogin | Session::InRoom(_), Some(Handler::Always(run))) => {
                run(self, id, clients);
            }
            (Session::BeforeLogin, _) => {
                clients.send_line(&[id], "Please log in\nUse \"login <nick>\"");
            }
            (Session::InRoom(_), _) => {
                clients.send_line(&[id], format!("Unknown command: {}", printable(word)));
            }
            // Lines that were sent before the client read the end of the stream.
            (Session::AfterLogout, _) => {}
        }
    }

    fn on_disconnect(&mut self, id: Id, clients: &mut Clients) {
        self.log_out(id, clients);
        self.sessions.remove(&id);
    }
}

/// Methods that the commands use.
impl TeaParty {
    fn user_called(&self, name: &Name) -> Option<&User> {
        let mut users = self.logged_in.iter().filter_map(|id| self.user(*id));
        users.find(|user| *user.name == *name)
    }

    fn user(&self, id: Id) -> Option<&User> {
        match self.sessions.get(&id)? {
            Session::InRoom(user) => Some(user),
            Session::BeforeLogin | Session::AfterLogout => None,
        }
    }

    /// Moves a user to the room `user.room`. If the user is in another room, the user leaves it.
    fn enter(&mut self, mut user: User, clients: &mut Clients) {
        match self.rooms.join(&user.room, user.id) {
            Ok(room) => user.room = room,
            Err(too_many) => {
                clients.send_line(&[user.id], too_many.to_string());
                return;
            }
        }
        self.leave_room(user.id, clients);
        let in_room = self.rooms.clients_in(&user.room);
        let others: Vec<_> = in_room.iter().copied().filter(|id| *id != user.id).collect();
        clients.send_line(&others, format!("{} has entered the room.", user.name));
        self.sessions.insert(user.id, Session::InRoom(user));
    }

    fn leave_room(&mut self, id: Id, clients: &mut Clients) {
        let Some(user) = self.user(id).cloned() else {
            return;
        };
        self.rooms.leave(&user.room, id);
        let others = self.rooms.clients_in(&user.room);
        clients.send_line(others, format!("{} has left the room.", user.name));
    }

    fn log_out(&mut self, id: Id, clients: &mut Clients) {
        self.leave_room(id, clients);
        self.logged_in.retain(|logged_in| *logged_in != id);
        self.sessions.insert(id, Session::AfterLogout);
    }
}
