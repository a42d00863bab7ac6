// What kernels with cooperative matrices ask of a device; stands first in a shader.
enable f16;
enable wgpu_cooperative_matrix;
