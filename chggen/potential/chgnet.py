"""CHGNet for whole batches, behind torch-sim's model interface."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch_sim.models.interface import ModelInterface

from chggen.contracts import Contract
from chggen.potential.graph import Graph, build_graph


def _split_gate(state: dict[str, Tensor], prefix: str, layer: int) -> tuple[Tensor, Tensor]:
    core = f"{prefix}.mlp_core.layers.{layer}"
    gate = f"{prefix}.mlp_gate.layers.{layer}"
    weight = torch.cat([state[f"{core}.weight"], state[f"{gate}.weight"]])
    bias = torch.cat([state[f"{core}.bias"], state[f"{gate}.bias"]])
    return weight.T.contiguous(), bias


class _Gate:
    def __init__(self, state: dict[str, Tensor], prefix: str, hidden: bool) -> None:
        self.weight, self.bias = _split_gate(state, prefix, 0 if hidden else 1)
        self.hidden = hidden
        if hidden:
            w = [state[f"{prefix}.mlp_{p}.layers.3.weight"].T.contiguous() for p in ("core", "gate")]
            b = [state[f"{prefix}.mlp_{p}.layers.3.bias"] for p in ("core", "gate")]
            self.w2, self.b2 = w, b
        self.norm = None
        if f"{prefix}.bn1.weight" in state:
            self.norm = [(state[f"{prefix}.bn{k}.weight"], state[f"{prefix}.bn{k}.bias"]) for k in (1, 2)]

    def __call__(self, h: Tensor) -> Tensor:
        d = h.shape[1] // 2
        if self.hidden:
            h = F.silu(h)
            core = torch.addmm(self.b2[0], h[:, :d], self.w2[0])
            gate = torch.addmm(self.b2[1], h[:, d:], self.w2[1])
        else:
            core, gate = h[:, :d], h[:, d:]
        if self.norm is not None:
            core = F.layer_norm(core, (d,), *self.norm[0])
            gate = F.layer_norm(gate, (d,), *self.norm[1])
        return F.silu(core) * torch.sigmoid(gate)


class CHGNetModel(ModelInterface):
    def __init__(self, name: str, args: dict[str, Any], state: dict[str, Tensor], *, contract: Contract,
                 digest: str, device: torch.device, dtype: torch.dtype) -> None:
        super().__init__()
        self.name, self.contract, self.hash = name, contract, digest
        self._device, self._dtype = device, dtype
        self._compute_stress = self._compute_forces = True
        self.atom_cutoff = float(args["atom_graph_cutoff"])
        self.bond_cutoff = float(args["bond_graph_cutoff"])
        self.p = args["cutoff_coeff"]
        s = {k: v.to(device, dtype) for k, v in state.items()}
        self.s = s
        self.n = args["n_conv"]
        self.atom = [_Gate(s, f"atom_conv_layers.{i}.twoBody_atom", True) for i in range(self.n)]
        self.bond = [_Gate(s, f"bond_conv_layers.{i}.twoBody_bond", True) for i in range(self.n - 1)]
        self.angle = [_Gate(s, f"angle_layers.{i}.twoBody_bond", False) for i in range(self.n - 2)]

    def rbf(self, d: Tensor, which: str, cutoff: float) -> Tensor:
        f = self.s[f"bond_basis_expansion.rbf_expansion_{which}.frequencies"]
        x = (d / cutoff)[:, None]
        p = self.p
        a, b, c = -(p + 1) * (p + 2) / 2, p * (p + 2), -p * (p + 1) / 2
        env = 1 + x**p * (a + b * x + c * x * x)
        return (2 / cutoff) ** 0.5 * torch.sin(f * x) / d[:, None] * env

    def forward(self, state, **kwargs):
        pos = state.positions.detach()
        cell = state.row_vector_cell.detach()
        g = build_graph(pos, cell, state.system_idx, atom_cutoff=self.atom_cutoff, bond_cutoff=self.bond_cutoff)
        vec = g.vectors.requires_grad_()
        with torch.enable_grad():
            site, mag = self.network(g, vec, state.atomic_numbers)
            (grad,) = torch.autograd.grad(site.sum(), vec, allow_unused=True) if len(vec) else (torch.zeros_like(vec),)
        site = site.detach()
        S = len(cell)
        e = site.new_zeros(S).index_add_(0, state.system_idx, site)
        f = torch.zeros_like(pos).index_add_(0, g.first, grad, alpha=-1).index_add_(0, g.second, grad)
        vir = pos.new_zeros(S, 9).index_add_(0, g.bond_system, (vec.detach()[:, :, None] * grad[:, None, :]).reshape(-1, 9)).view(S, 3, 3)
        vol = torch.linalg.det(cell).abs()
        stress = (vir + vir.mT) / 2 / vol[:, None, None]
        iso = torch.zeros(S, dtype=torch.bool, device=pos.device)
        iso[state.system_idx[g.isolated_atoms]] = True
        return {"energy": e, "forces": f, "stress": stress, "magmoms": mag.detach(), "isolated": iso}

    def network(self, g: Graph, vec: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        s = self.s
        z = z.long() - 1
        d = vec.norm(dim=1)
        K = len(g.short)
        basis = self.rbf(d, "ag", self.atom_cutoff)
        bond0 = basis @ s["bond_embedding.weight"].T
        w_ag = basis @ s["bond_weights_ag.weight"].T
        x = s["atom_embedding.embedding.weight"][z]
        ds = d[g.short]
        w_bg = self.rbf(ds, "bg", self.bond_cutoff) @ s["bond_weights_bg.weight"].T
        unit = vec[g.short] / ds[:, None]
        unit = torch.cat([unit, -unit])
        cos = (unit[g.left] * unit[g.right]).sum(1) * (1 - 1e-6)
        t = torch.acos(cos)
        fr = s["angle_basis_expansion.fourier_expansion.frequencies"]
        tf = torch.outer(t, fr)
        ab = torch.cat([torch.full_like(t[:, None], 0.5**0.5), tf.sin(), tf.cos()], 1) / torch.pi**0.5
        ang = ab @ s["angle_embedding.weight"].T
        left, right = g.left % max(K, 1), g.right % max(K, 1)
        has_angles = torch.zeros(int(g.bond_system.max()) + 1 if len(d) else 0, dtype=d.dtype, device=d.device)
        has_angles[g.bond_system[g.short[left]]] = 1
        has_angles = has_angles[g.bond_system][:, None]
        bond = bond0
        mag = None
        F_ = 64
        for i in range(self.n):
            gate = self.atom[i]
            wc, wb, wn = gate.weight.split(F_)
            a = x @ wc + gate.bias
            b = x @ wn
            c = bond @ wb
            h = torch.cat([a[g.first] + b[g.second] + c, a[g.second] + b[g.first] + c])
            m = gate(h) * w_ag.repeat(2, 1)
            agg = torch.zeros_like(x).index_add(0, torch.cat([g.first, g.second]), m)
            x = x + F.linear(agg, s[f"atom_conv_layers.{i}.mlp_out.layers.1.weight"], s.get(f"atom_conv_layers.{i}.mlp_out.layers.1.bias"))
            if i == self.n - 2:
                mag = F.linear(x, s["site_wise.weight"], s["site_wise.bias"]).abs().squeeze(1)
            if i == self.n - 1:
                break
            gate = self.bond[i]
            wi, wj, wa, wx = gate.weight.split(F_)
            sb = bond[g.short]
            h = (sb @ wi)[left] + (sb @ wj)[right] + ang @ wa + (x @ wx + gate.bias)[g.corner]
            m = gate(h) * w_bg[left] * w_bg[right]
            agg = torch.zeros_like(sb).index_add(0, left, m)
            upd = agg @ s[f"bond_conv_layers.{i}.mlp_out.layers.1.weight"].T
            bond = bond.index_add(0, g.short, upd)
            bias = s.get(f"bond_conv_layers.{i}.mlp_out.layers.1.bias")
            if bias is not None:
                bond = bond + has_angles * bias
            if i < self.n - 2:
                gate = self.angle[i]
                wi, wj, wa, wx = gate.weight.split(F_)
                sb = bond[g.short]
                h = (sb @ wi)[left] + (sb @ wj)[right] + ang @ wa + (x @ wx + gate.bias)[g.corner]
                ang = ang + gate(h)
        if "readout_norm.weight" in s:
            x = F.layer_norm(x, (F_,), s["readout_norm.weight"], s["readout_norm.bias"])
        k = 0
        while f"mlp.layers.{k}.weight" in s:
            x = F.linear(x, s[f"mlp.layers.{k}.weight"], s[f"mlp.layers.{k}.bias"])
            nxt = k + 2 if f"mlp.layers.{k+2}.weight" in s else k + 3
            if f"mlp.layers.{nxt}.weight" in s:
                x = F.silu(x)
            k = nxt
        ref = s["composition_model.fc.weight"][0]
        return x.squeeze(1) + ref[z], mag
