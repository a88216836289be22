//! The table of commands, and what each command does.

use std::rc::Rc;

use tea_party::{Clients, Id, Name};
use tincanchat::printable;

use crate::{TeaParty, User};

/// The end of the answer to a login with a name that cannot be used.
const AGAIN: &str = "Please try again.";

pub(super) struct Command {
    pub(super) word: &'static str,
    /// The arguments that follow the word, for `help`.
    arguments: &'static str,
    /// What the command does, for `help`.
    description: &'static str,
    pub(super) handler: Handler,
}

/// The function of a command, with a variant for each state of a session in which a command can be used.
#[derive(Clone, Copy)]
pub(super) enum Handler {
    BeforeLogin(fn(&mut TeaParty, Id, &str, &mut Clients)),
    InRoom(fn(&mut TeaParty, &User, &str, &mut Clients)),
    Always(fn(&mut TeaParty, Id, &mut Clients)),
}

/// All commands. To add one, add an entry here, and a function below.
pub(super) const COMMANDS: &[Command] = &[
    Command {
        word: "login",
        arguments: "NAME",
        description: "log in with this name",
        handler: Handler::BeforeLogin(TeaParty::log_in),
    },
    Command {
        word: "say",
        arguments: "TEXT",
        description: "send a text to all users in this room",
        handler: Handler::InRoom(TeaParty::say),
    },
    Command {
        word: "tell",
        arguments: "NAME TEXT",
        description: "send a text to one user, in any room",
        handler: Handler::InRoom(TeaParty::tell),
    },
    Command {
        word: "look",
        arguments: "",
        description: "list the users in this room",
        handler: Handler::InRoom(TeaParty::look),
    },
    Command {
        word: "who",
        arguments: "",
        description: "list all users",
        handler: Handler::InRoom(TeaParty::who),
    },
    Command {
        word: "rooms",
        arguments: "",
        description: "list the rooms",
        handler: Handler::InRoom(TeaParty::list_rooms),
    },
    Command {
        word: "join",
        arguments: "ROOM",
        description: "go to a room, and open it if it is not open yet",
        handler: Handler::InRoom(TeaParty::join),
    },
    Command {
        word: "help",
        arguments: "",
        description: "list the commands",
        handler: Handler::InRoom(TeaParty::help),
    },
    Command {
        word: "logout",
        arguments: "",
        description: "end the session",
        handler: Handler::Always(TeaParty::end_session),
    },
];

impl TeaParty {
    fn log_in(&mut self, id: Id, name: &str, clients: &mut Clients) {
        if name.is_empty() {
            clients.send_line(&[id], "Please enter a name");
            return;
        }
        let name = match Name::new(name) {
            Ok(name) => name,
            Err(bad_name) => {
                clients.send_line(&[id], format!("{bad_name}\r\n{AGAIN}"));
                return;
            }
        };
        if self.user_called(&name).is_some() {
            clients.send_line(&[id], format!("The name \"{name}\" is taken.\r\n{AGAIN}"));
            return;
        }
        self.logged_in.push(id);
        let room = self.rooms.first();
        self.enter(User { id, name: Rc::new(name), room }, clients);
    }

    pub(super) fn say(&mut self, user: &User, text: &str, clients: &mut Clients) {
        let line = format!("{}: {}", user.name, printable(text));
        clients.send_line(self.rooms.clients_in(&user.room), line);
    }

    fn tell(&mut self, user: &User, name_and_text: &str, clients: &mut Clients) {
        let (name, text) =
            name_and_text.trim_start().split_once(char::is_whitespace).unwrap_or_default();
        if text.trim().is_empty() {
            clients.send_line(&[user.id], "Use \"tell <nick> <text>\"");
            return;
        }
        let Some(other) = Name::new(name).ok().and_then(|name| self.user_called(&name)) else {
            let line = format!("Nobody is called \"{}\".", printable(name));
            clients.send_line(&[user.id], line);
            return;
        };
        let line = format!("{} tells you: {}", user.name, printable(text));
        clients.send_line(&[other.id], line);
    }

    fn look(&mut self, user: &User, _: &str, clients: &mut Clients) {
        let names = self.names_of(self.rooms.clients_in(&user.room));
        clients.send_line(&[user.id], format!("The following are in this room:{names}"));
    }

    fn who(&mut self, user: &User, _: &str, clients: &mut Clients) {
        let names = self.names_of(&self.logged_in);
        clients.send_line(&[user.id], format!("The following are logged in:{names}"));
    }

    fn list_rooms(&mut self, user: &User, _: &str, clients: &mut Clients) {
        let names = as_lines(self.rooms.names().map(Name::to_string));
        clients.send_line(&[user.id], format!("The following rooms are open:{names}"));
    }

    fn join(&mut self, user: &User, room: &str, clients: &mut Clients) {
        let room = room.trim();
        if room.is_empty() {
            clients.send_line(&[user.id], "Please enter a room");
            return;
        }
        match Name::new(room) {
            Ok(room) if room == *user.room => {
                clients.send_line(&[user.id], "You are there already.");
            }
            Ok(room) => self.enter(User { room: Rc::new(room), ..user.clone() }, clients),
            Err(bad_name) => clients.send_line(&[user.id], bad_name.to_string()),
        }
    }

    fn help(&mut self, user: &User, _: &str, clients: &mut Clients) {
        let commands = as_lines(COMMANDS.iter().map(|command| {
            let usage = format!("{} {}", command.word, command.arguments);
            format!("  {usage:16} {}", command.description)
        }));
        let slash = if self.needs_slash {
            "Put a / before each. A line without a / is said."
        } else {
            "A / before each is allowed."
        };
        let text = format!("The following commands are known:{commands}\r\n{slash}");
        clients.send_line(&[user.id], text);
    }

    fn end_session(&mut self, id: Id, clients: &mut Clients) {
        self.log_out(id, clients);
        clients.handle_disconnect(id);
    }

    fn names_of(&self, ids: &[Id]) -> String {
        let users = ids.iter().filter_map(|id| self.user(*id));
        as_lines(users.map(|user| user.name.to_string()))
    }
}

/// Returns the texts, with a line break before each, so that they can be appended to a line.
fn as_lines(texts: impl Iterator<Item = String>) -> String {
    let mut lines = String::new();
    for text in texts {
        lines.push_str("\r\n");
        lines.push_str(&text);
    }
    lines
}
