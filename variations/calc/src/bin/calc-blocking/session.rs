//! One client's session, from the welcome to its end.
//!
//! This file exists twice, in `calc-blocking` and in `calc-reactor`. Only `async` and `await` differ.

use anyhow::Result;
use calc::Mode;

use crate::{Conn, NUMBERS, calculate};

pub fn session(conn: &mut Conn) -> Result<()> {
    let mut mode = Mode::Sum;
    conn.send("<welcome: starting in sum mode>\n")?;
    while let Some(line) = conn.read_line()? {
        match line.as_str() {
            "quit" => return conn.send("connection closed\r\n"),
            "sum" => {
                mode = Mode::Sum;
                conn.send("<switching to sum mode>\r\n")?;
            }
            "product" => {
                mode = Mode::Product;
                conn.send("<switching to product mode>\r\n")?;
            }
            list => {
                let answer = match calculate(mode, list) {
                    Ok(result) => format!("{mode} of input {NUMBERS}: '{result}'\r\n"),
                    Err(_) => "ERROR. Enter only integers separated by commas\n".to_owned(),
                };
                conn.send(&answer)?;
            }
        }
    }
    Ok(())
}
