//! tmp
use super::*;
/// tmp
pub fn run(context: &Context) -> Result<(), String> {
    context.say(&Word::Ready);
    loop {
        match hear(&context.channel).map_err(|e| e.to_string())? {
            Heard::Order(Order::Quiesce) => { context.say(&Word::Quiet); return Ok(()) }
            Heard::Order(Order::Stop) | Heard::MainGone => return Ok(()),
            _ => std::thread::sleep(std::time::Duration::from_millis(50)),
        }
    }
}
