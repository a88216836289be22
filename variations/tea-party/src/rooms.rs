//! Which rooms are open, and which clients are in each.

use std::rc::Rc;

use crate::{Id, Name};

/// How many rooms may be open at a time. There is a limit because the answer to `rooms` has a line for
/// each.
pub const MAX_ROOMS: usize = 100;

/// The error for a room that cannot be opened. The error's text is the reply to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("There are {MAX_ROOMS} rooms already, and no more can be opened.")]
pub struct TooManyRooms;

/// The open rooms. A room opens when the first client joins it, and closes when the last client leaves it.
/// Only the first room stays open when it is empty.
///
/// ```
/// use std::rc::Rc;
/// use tea_party::{Name, Rooms};
///
/// let name = |text| Rc::new(Name::new(text).unwrap());
/// let mut rooms = Rooms::new(name("parlour"));
/// let garden = rooms.join(&name("garden"), 1).unwrap();
/// rooms.join(&name("GARDEN"), 2).unwrap();
/// assert_eq!(rooms.clients_in(&garden), [1, 2]);
/// rooms.leave(&garden, 1);
/// rooms.leave(&garden, 2);
/// let names: Vec<_> = rooms.names().map(ToString::to_string).collect();
/// assert_eq!(names, ["parlour"]);
/// ```
#[derive(Debug)]
pub struct Rooms {
    /// The first room comes first; the others follow in the order in which they opened.
    rooms: Vec<Room>,
}

#[derive(Debug)]
struct Room {
    name: Rc<Name>,
    /// In the order in which they joined.
    clients: Vec<Id>,
}

impl Rooms {
    /// Returns the rooms of a chat without clients: only the first room is open.
    #[must_use]
    pub fn new(first_room: Rc<Name>) -> Self {
        Rooms { rooms: vec![Room { name: first_room, clients: Vec::new() }] }
    }

    /// Returns the name of the first room, which every client joins when it logs in.
    #[must_use]
    pub fn first(&self) -> Rc<Name> {
        Rc::clone(&self.rooms[0].name)
    }

    /// Adds a client to a room. Returns the name of the room as it was spelled when the room opened.
    ///
    /// # Errors
    ///
    /// [`TooManyRooms`] if the room is not open and cannot be opened.
    pub fn join(&mut self, name: &Rc<Name>, id: Id) -> Result<Rc<Name>, TooManyRooms> {
        if let Some(room) = self.rooms.iter_mut().find(|room| room.name == *name) {
            room.clients.push(id);
            return Ok(Rc::clone(&room.name));
        }
        if self.rooms.len() >= MAX_ROOMS {
            return Err(TooManyRooms);
        }
        self.rooms.push(Room { name: Rc::clone(name), clients: vec![id] });
        Ok(Rc::clone(name))
    }

    /// Removes a client from a room.
    pub fn leave(&mut self, name: &Name, id: Id) {
        if let Some(room) = self.rooms.iter_mut().find(|room| *room.name == *name) {
            room.clients.retain(|client| *client != id);
        }
        let first = self.first();
        self.rooms.retain(|room| room.name == first || !room.clients.is_empty());
    }

    /// Returns the clients in a room, in the order in which they joined.
    #[must_use]
    pub fn clients_in(&self, name: &Name) -> &[Id] {
        let room = self.rooms.iter().find(|room| *room.name == *name);
        room.map_or(&[], |room| &room.clients)
    }

    /// Returns the names of all open rooms; the first room comes first.
    pub fn names(&self) -> impl Iterator<Item = &Name> {
        self.rooms.iter().map(|room| &*room.name)
    }
}
