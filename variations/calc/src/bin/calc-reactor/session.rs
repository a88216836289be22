//! One client's session, from the welcome to its end.
//!
//! This file exists twice, in `calc-blocking` and in `calc-reactor`. Only `async` and `await` differ.

use anyhow::Result;
use calc::Mode;

use crate::{Conn, NUMBERS, calculate};

pub async fn session(conn: &mut Conn) -> Result<()> {
    let mut mode = Mode::Sum;
    conn.send("<welcome: starting in sum mode>\n").await?;
    while let Some(line) = conn.read_line().await? {
        match line.as_str() {
            "quit" => return conn.send("connection closed\r\n").await,
            "sum" => {
                mode = Mode::Sum;
                conn.send("<switching to sum mode>\r\n").await?;
            }
            "product" => {
                mode = Mode::Product;
                conn.send("<switching to product mode>\r\n").await?;
            }
            list => {
                let answer = match calculate(mode, list).await {
                    Ok(result) => format!("{mode} of input {NUMBERS}: '{result}'\r\n"),
                    Err(_) => "ERROR. Enter only integers separated by commas\n".to_owned(),
                };
                conn.send(&answer).await?;
            }
        }
    }
    Ok(())
}
