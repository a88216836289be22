//! Who is in which room.

use std::rc::Rc;

use crate::{Id, Name};

/// How many rooms there may be at a time. Each is one line of what `rooms` answers.
pub const MAX_ROOMS: usize = 100;

/// There is no place for another room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("There are {MAX_ROOMS} rooms already, and no more can be opened.")]
pub struct TooManyRooms;

/// The rooms that are open. One opens when the first enters it, and closes when the last leaves; only
/// the one at the entrance stays.
///
/// ```
/// use std::rc::Rc;
/// use tea_party::{Name, Rooms};
///
/// let name = |text| Rc::new(Name::new(text).unwrap());
/// let mut rooms = Rooms::new(name("parlour"));
/// let garden = rooms.enter(&name("garden"), 1).unwrap();
/// rooms.enter(&name("GARDEN"), 2).unwrap();
/// assert_eq!(rooms.who_is_in(&garden), [1, 2]);
/// rooms.leave(&garden, 1);
/// rooms.leave(&garden, 2);
/// assert_eq!(rooms.names().map(|it| it.to_string()).collect::<Vec<_>>(), ["parlour"]);
/// ```
#[derive(Debug)]
pub struct Rooms {
    /// The one at the entrance is the first.
    rooms: Vec<Room>,
}

#[derive(Debug)]
struct Room {
    name: Rc<Name>,
    /// In order of arrival.
    here: Vec<Id>,
}

impl Rooms {
    /// Opens the room at the entrance.
    #[must_use]
    pub fn new(entrance: Rc<Name>) -> Self {
        Rooms { rooms: vec![Room { name: entrance, here: Vec::new() }] }
    }

    /// The room at the entrance.
    #[must_use]
    pub fn entrance(&self) -> Rc<Name> {
        Rc::clone(&self.rooms[0].name)
    }

    /// Lets somebody enter a room, and gives its name as it is written there.
    ///
    /// # Errors
    ///
    /// [`TooManyRooms`], when it would have to be opened.
    pub fn enter(&mut self, name: &Rc<Name>, id: Id) -> Result<Rc<Name>, TooManyRooms> {
        if let Some(room) = self.rooms.iter_mut().find(|room| room.name == *name) {
            room.here.push(id);
            return Ok(Rc::clone(&room.name));
        }
        if self.rooms.len() >= MAX_ROOMS {
            return Err(TooManyRooms);
        }
        self.rooms.push(Room { name: Rc::clone(name), here: vec![id] });
        Ok(Rc::clone(name))
    }

    /// Lets somebody leave a room.
    pub fn leave(&mut self, name: &Name, id: Id) {
        if let Some(room) = self.rooms.iter_mut().find(|room| *room.name == *name) {
            room.here.retain(|it| *it != id);
        }
        let entrance = self.entrance();
        self.rooms.retain(|room| room.name == entrance || !room.here.is_empty());
    }

    /// Who is in a room, in order of arrival.
    #[must_use]
    pub fn who_is_in(&self, name: &Name) -> &[Id] {
        self.rooms.iter().find(|room| *room.name == *name).map_or(&[], |room| &room.here)
    }

    /// The names of all rooms, the one at the entrance first.
    pub fn names(&self) -> impl Iterator<Item = &Name> {
        self.rooms.iter().map(|room| &*room.name)
    }
}
