// Tile of one workgroup of an attention kernel: 8·TM rows, heads of up to 64·TD columns.
const TM: u32 = 4u;
const TD: u32 = 1u;
