//! The table of commands, and what each of them does.

use std::rc::Rc;

use tea_party::{Clients, Id, Name};
use tincanchat::printable;

use crate::{Guest, TeaParty};

/// How the answer ends to a name that cannot be had.
const AGAIN: &str = "Please try again.";

pub(super) struct Command {
    pub(super) word: &'static str,
    /// What comes after the word.
    takes: &'static str,
    /// What `help` says of it.
    does: &'static str,
    pub(super) run: Run,
}

/// What a command does, by where it can be used.
#[derive(Clone, Copy)]
pub(super) enum Run {
    AtLogin(fn(&mut TeaParty, Id, &str, &mut Clients)),
    InRoom(fn(&mut TeaParty, &Guest, &str, &mut Clients)),
    Anywhere(fn(&mut TeaParty, Id, &mut Clients)),
}

/// All commands. Another one is a line here, and a function.
#[rustfmt::skip]
pub(super) const COMMANDS: &[Command] = &[
    Command { word: "login", takes: "NAME", does: "come in under this name, before all else", run: Run::AtLogin(TeaParty::login) },
    Command { word: "say", takes: "TEXT", does: "say it to all in this room", run: Run::InRoom(TeaParty::say) },
    Command { word: "tell", takes: "NAME TEXT", does: "say it to one alone, in any room", run: Run::InRoom(TeaParty::whisper) },
    Command { word: "look", takes: "", does: "list who is in this room", run: Run::InRoom(TeaParty::look) },
    Command { word: "who", takes: "", does: "list who is logged in", run: Run::InRoom(TeaParty::who) },
    Command { word: "rooms", takes: "", does: "list the rooms", run: Run::InRoom(TeaParty::list_rooms) },
    Command { word: "join", takes: "ROOM", does: "go to that room; it need not exist yet", run: Run::InRoom(TeaParty::join) },
    Command { word: "help", takes: "", does: "list the commands", run: Run::InRoom(TeaParty::help) },
    Command { word: "logout", takes: "", does: "leave", run: Run::Anywhere(TeaParty::logout) },
];

impl TeaParty {
    fn login(&mut self, id: Id, name: &str, clients: &mut Clients) {
        if name.is_empty() {
            return clients.tell(&[id], "Please enter a name");
        }
        let name = match Name::new(name) {
            Ok(name) if self.guest(&name).is_none() => Rc::new(name),
            Ok(_) => {
                return clients.tell(&[id], format!("The name \"{name}\" is taken.\r\n{AGAIN}"));
            }
            Err(err) => return clients.tell(&[id], format!("{err}\r\n{AGAIN}")),
        };
        self.logged_in.push(id);
        let room = self.rooms.entrance();
        self.enter(Guest { id, name, room }, clients);
    }

    pub(super) fn say(&mut self, guest: &Guest, text: &str, clients: &mut Clients) {
        let text = format!("{}: {}", guest.name, printable(text));
        clients.tell(self.rooms.who_is_in(&guest.room), text);
    }

    fn whisper(&mut self, guest: &Guest, rest: &str, clients: &mut Clients) {
        let (name, text) = rest.trim_start().split_once(char::is_whitespace).unwrap_or_default();
        if text.trim().is_empty() {
            return clients.tell(&[guest.id], "Use \"tell <nick> <text>\"");
        }
        match Name::new(name).ok().and_then(|name| self.guest(&name)) {
            Some(other) => {
                let text = printable(text);
                clients.tell(&[other.id], format!("{} tells you: {text}", guest.name));
            }
            None => clients.tell(&[guest.id], format!("Nobody is called \"{}\".", printable(name))),
        }
    }

    fn look(&mut self, guest: &Guest, _: &str, clients: &mut Clients) {
        self.list(guest.id, "in this room", self.rooms.who_is_in(&guest.room), clients);
    }

    fn who(&mut self, guest: &Guest, _: &str, clients: &mut Clients) {
        self.list(guest.id, "logged in", &self.logged_in, clients);
    }

    fn list_rooms(&mut self, guest: &Guest, _: &str, clients: &mut Clients) {
        let names = lines(self.rooms.names().map(Name::to_string));
        clients.tell(&[guest.id], format!("The following rooms are open:{names}"));
    }

    fn join(&mut self, guest: &Guest, room: &str, clients: &mut Clients) {
        let room = room.trim();
        if room.is_empty() {
            return clients.tell(&[guest.id], "Please enter a room");
        }
        match Name::new(room) {
            Ok(room) if room == *guest.room => clients.tell(&[guest.id], "You are there already."),
            Ok(room) => self.enter(Guest { room: Rc::new(room), ..guest.clone() }, clients),
            Err(err) => clients.tell(&[guest.id], err.to_string()),
        }
    }

    fn help(&mut self, guest: &Guest, _: &str, clients: &mut Clients) {
        let usage = |it: &Command| format!("{} {}", it.word, it.takes);
        let line = |it: &Command| format!("  {:16} {}", usage(it), it.does);
        let commands = lines(COMMANDS.iter().map(line));
        let slash = match self.slash {
            true => "Put a / before each; what has none is said.",
            false => "A / before each is allowed.",
        };
        clients
            .tell(&[guest.id], format!("The following commands are known:{commands}\r\n{slash}"));
    }

    fn logout(&mut self, id: Id, clients: &mut Clients) {
        self.log_out(id, clients);
        clients.say_goodbye(id);
    }

    fn list(&self, to: Id, who: &str, ids: &[Id], clients: &mut Clients) {
        let names = ids.iter().filter_map(|id| self.guest_of(*id));
        let names = lines(names.map(|guest| guest.name.to_string()));
        clients.tell(&[to], format!("The following are {who}:{names}"));
    }
}

/// Each text on a line of its own, after one that is there already.
fn lines(texts: impl Iterator<Item = String>) -> String {
    texts.flat_map(|text| ["\r\n".to_owned(), text]).collect()
}
