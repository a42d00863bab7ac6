// The products of the cooperative attention kernels without cooperative matrices, for devices that have none: each
// invocation computes the vectors that it has between two products.
alias Narrow = vec2<u32>;
alias Strip = array<vec4<f32>, CELLS>;
var<workgroup> own_tile: array<Narrow, BM * LD>;
var<workgroup> other_tile: array<Narrow, BN * LD>;
var<private> strip: Strip;

fn narrow(values: vec4<f32>) -> Narrow { return vec2(pack2x16float(values.xy), pack2x16float(values.zw)); }
fn wide(values: Narrow) -> vec4<f32> { return vec4(unpack2x16float(values.x), unpack2x16float(values.y)); }

fn add_dots(sums: ptr<function, Strip>, t: u32) {
  for (var i = 0u; i < CELLS; i++) {
    for (var j = 0u; j < 4u; j++) {
      for (var c = 0u; c < WIDTH; c++) {
        let own = wide(own_tile[row_of(t) * LD + c]);
        (*sums)[i][j] += dot(own, wide(other_tile[(column_of(i, t) * 4u + j) * LD + c]));
      }
    }
  }
}

fn add_products(sums: ptr<function, Strip>, t: u32) {
  for (var i = 0u; i < CELLS; i++) {
    for (var k = 0u; k < BN; k++) {
      let weights = wide(own_tile[row_of(t) * LD + k / 4u]);
      (*sums)[i] += weights[k % 4u] * wide(other_tile[k * LD + column_of(i, t)]);
    }
  }
}

fn show(sums: ptr<function, Strip>, t: u32) { strip = *sums; }

fn shown(i: u32, t: u32) -> vec4<f32> { return strip[i]; }
