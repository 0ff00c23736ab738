"""A drive as a MuJoCo scene: pictures, classes and depth from a moving camera.

Needs the package `mujoco` and an OpenGL library (EGL; Debian: libegl1, libgl1-mesa-dri).
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from emu_core.drives import actors, traffic
from emu_core.drives.conditions import Camera, Conditions, expose, sky_faces
from emu_core.drives.meshes import Mesh, merge
from emu_core.drives.street import Part, Scenery
from emu_core.labels import CITYSCAPES, UNKNOWN_OBJECT_ID

os.environ.setdefault("MUJOCO_GL", "egl")
import mujoco  # noqa: E402  MUJOCO_GL must be set before

IDS = dict(zip(CITYSCAPES.names, CITYSCAPES.dataset_ids, strict=True))
IDS["unknown"] = UNKNOWN_OBJECT_ID


@dataclass(frozen=True)
class Frame:
    """One frame: RGB uint8 (H,W,3), Cityscapes labelIds uint8 (H,W), depth float32 (H,W) metres
    along z, +Inf for sky."""

    image: np.ndarray
    label_ids: np.ndarray
    depth: np.ndarray


class Scene:
    """Renders frames of a street with its traffic; close it, or use it as a context."""

    def __init__(
        self,
        street: Scenery,
        movers: list[traffic.Mover],
        ego: traffic.Ego,
        camera: Camera,
        conditions: Conditions,
    ):
        self.street, self.movers, self.ego = street, movers, ego
        self.camera, self.conditions = camera, conditions
        self._ids: list[int] = []
        self._glow: list[float] = []
        self._owners: list[int] = []
        self.model = self._compile()
        self.data = mujoco.MjData(self.model)
        self._ids_of_geom = np.array([*self._ids, IDS["sky"]], np.uint8)
        self._glow_of_geom = np.array([*self._glow, 0.0], np.float32)
        self._renderer = mujoco.Renderer(self.model, camera.height, camera.width)

    def __enter__(self) -> Scene:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the OpenGL context."""
        self._renderer.close()

    def frame(self, time: float, rng: np.random.Generator) -> Frame:
        """Render the drive at `time` seconds; `rng` draws the sensor's noise."""
        self._move(time)
        renderer = self._renderer
        clean = self._render(shadows=True)
        renderer.enable_depth_rendering()
        depth = self._render(shadows=False)
        renderer.disable_depth_rendering()
        renderer.enable_segmentation_rendering()
        geom = self._render(shadows=False)[..., 0]
        renderer.disable_segmentation_rendering()
        self._geom = geom
        depth = np.where(geom < 0, np.inf, depth).astype(np.float32)
        image = expose(
            clean, depth, self._glow_of_geom[geom], self._lamps(), self.camera, self.conditions,
            rng,
        )  # fmt: skip
        return Frame(image, self._ids_of_geom[geom], depth)

    def mask(self, name: str) -> np.ndarray:
        """Where a named mover is seen in the last frame, uint8 (H,W), 255 inside."""
        bodies = [i for i, mover in enumerate(self.movers) if mover.name == name]
        geoms = [g for g, owner in enumerate(self._owners) if owner in bodies]
        return np.where(np.isin(self._geom, geoms), 255, 0).astype(np.uint8)

    def _render(self, shadows: bool) -> np.ndarray:
        self._renderer.update_scene(self.data, camera="camera")
        self._renderer.scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = shadows
        return self._renderer.render().copy()

    # -- building -------------------------------------------------------------------------------

    def _compile(self) -> mujoco.MjModel:
        spec = mujoco.MjSpec()
        spec.compiler.balanceinertia = True
        visual = spec.visual
        visual.global_.offwidth, visual.global_.offheight = self.camera.width, self.camera.height
        visual.quality.shadowsize, visual.quality.offsamples = 2048, 4
        visual.map.znear, visual.map.zfar = 0.005, 6.0
        visual.map.shadowclip = 0.6
        visual.headlight.diffuse, visual.headlight.specular = [0, 0, 0], [0, 0, 0]
        visual.headlight.ambient = [self.conditions.ambient] * 3
        spec.stat.extent, spec.stat.center = 100.0, [0, 0, 0]
        self._add_textures(spec)
        self._materials: dict[tuple, str] = {}
        self._add_parts(spec, spec.worldbody, self.street.parts, "street", -1)
        for i, mover in enumerate(self.movers):
            body = spec.worldbody.add_body(name=f"mover{i}", mocap=True)
            self._add_parts(spec, body, mover.actor.parts, f"mover{i}", i)
            for k, limb in enumerate(mover.actor.limbs):
                body = spec.worldbody.add_body(name=f"mover{i}limb{k}", mocap=True)
                self._add_parts(spec, body, limb.parts, f"mover{i}limb{k}", i)
        self._add_camera_and_sun(spec)
        return spec.compile()

    def _add_textures(self, spec: mujoco.MjSpec) -> None:
        images = {**self.street.textures, **actors.paint_common(self.street.rng)}
        flat, cube = mujoco.mjtTexture.mjTEXTURE_2D, mujoco.mjtTexture.mjTEXTURE_SKYBOX
        kinds = [(name, flat, image[::-1]) for name, image in images.items()]
        for name, kind, image in [*kinds, ("sky", cube, sky_faces(self.conditions))]:
            height, width = image.shape[:2]
            texture = spec.add_texture(name=name, type=kind, width=width, height=height)
            texture.nchannel = 3
            texture.data = np.ascontiguousarray(image).tobytes()

    def _add_parts(self, spec, body, parts: Iterable[Part], prefix: str, owner: int) -> None:
        """Add parts to a body, one mesh for all that share surface and class."""
        groups: dict[tuple, list[Mesh]] = defaultdict(list)
        for part in parts:
            groups[part.texture, part.label, part.tint, part.glow].append(part.mesh)
        for k, (key, meshes) in enumerate(groups.items()):
            texture, label, tint, glow = key
            mesh = merge(meshes)
            name = f"{prefix}.{k}"
            spec.add_mesh(
                name=name, inertia=mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL,
                uservert=mesh.vertices.astype(np.float32).ravel(),
                usernormal=mesh.normals.astype(np.float32).ravel(),
                usertexcoord=mesh.uvs.astype(np.float32).ravel(),
                userface=mesh.faces.astype(np.int32).ravel(),
                userfacenormal=mesh.faces.astype(np.int32).ravel(),
                userfacetexcoord=mesh.faces.astype(np.int32).ravel(),
            )  # fmt: skip
            body.add_geom(
                type=mujoco.mjtGeom.mjGEOM_MESH, meshname=name, contype=0, conaffinity=0,
                material=self._material(spec, texture, tint, glow), mass=0,
            )  # fmt: skip
            self._ids.append(IDS[label])
            self._glow.append(glow)
            self._owners.append(owner)

    def _material(self, spec, texture: str, tint: tuple, glow: float) -> str:
        key = (texture, tint, glow)
        if key not in self._materials:
            name = f"material{len(self._materials)}"
            shiny = texture in actors.SHINY
            material = spec.add_material(
                name=name, rgba=[*tint, 1], emission=glow if not self.conditions.night else 0,
                specular=0.35 if shiny else 0.02, shininess=0.6 if shiny else 0.1,
            )  # fmt: skip
            material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = texture
            self._materials[key] = name
        return self._materials[key]

    def _add_camera_and_sun(self, spec: mujoco.MjSpec) -> None:
        c = self.conditions
        eye = spec.worldbody.add_body(name="eye", mocap=True)
        eye.add_camera(name="camera", fovy=self.camera.fovy)
        follow = spec.worldbody.add_body(name="sun", mocap=True)
        tint = np.array([1.0, 1.0 - 0.12 * c.warmth, 1.0 - 0.35 * c.warmth])
        if c.sun > 0:
            follow.add_light(
                type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL, castshadow=True,
                pos=c.sun_direction * 80, dir=-c.sun_direction, diffuse=c.sun * tint,
                specular=0.4 * c.sun * tint, ambient=[0, 0, 0],
            )  # fmt: skip
            follow.add_light(
                type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL, castshadow=False, pos=[0, 0, 50],
                dir=[0.15, 0.1, -1], diffuse=[0.16] * 3, specular=[0, 0, 0], ambient=[0, 0, 0],
            )  # fmt: skip

    # -- moving ---------------------------------------------------------------------------------

    def _move(self, time: float) -> None:
        path = self.street.path
        s = self.ego.s(time)
        eye = path.world(s, self.ego.d, self.camera.mount_height)
        yaw = float(path.yaw(s)) + self.camera.yaw
        pitch = float(path.pitch(s)) + self.camera.pitch
        self._pose("eye", eye, _camera_quat(yaw, pitch, self.camera.roll))
        self._pose("sun", path.world(s + 35, 0), np.array([1.0, 0, 0, 0]))
        self._view = (eye, _rotation(yaw, pitch, self.camera.roll))
        for i, mover in enumerate(self.movers):
            ms, md = mover.at(time)
            heading = float(path.yaw(ms)) + mover.heading
            grade = float(path.pitch(ms)) * np.cos(mover.heading)
            place = path.world(ms, md, mover.z)
            self._pose(f"mover{i}", place, _quat(heading, grade))
            c, n = np.cos(heading), np.sin(heading)
            for k, limb in enumerate(mover.actor.limbs):
                x, y, z = limb.pivot
                pivot = place + (c * x - n * y, n * x + c * y, z)
                stride = np.hypot(mover.speed, mover.drift) * 4.2
                angle = limb.swing * np.sin(limb.phase + stride * time)
                self._pose(f"mover{i}limb{k}", pivot, _quat(heading, angle))
        mujoco.mj_kinematics(self.model, self.data)
        mujoco.mj_camlight(self.model, self.data)

    def _pose(self, name: str, position: np.ndarray, quat: np.ndarray) -> None:
        index = self.model.body(name).mocapid[0]
        self.data.mocap_pos[index] = position
        self.data.mocap_quat[index] = quat

    def _lamps(self) -> np.ndarray:
        """Street lamps near the camera, in its coordinates (N,3)."""
        if not self.conditions.night or not self.street.lamps:
            return np.zeros((0, 3))
        eye, turn = self._view
        local = (np.array(self.street.lamps) - eye) @ turn  # forward, left, up
        optical = np.stack([-local[:, 1], -local[:, 2], local[:, 0]], 1)
        return optical[(optical[:, 2] > -8) & (optical[:, 2] < 70)]


def _quat(yaw: float, pitch: float) -> np.ndarray:
    """Quaternion (w,x,y,z) of a turn by pitch about y, then by yaw about z."""
    cy, sy, cp, sp = np.cos(yaw / 2), np.sin(yaw / 2), np.cos(pitch / 2), np.sin(pitch / 2)
    return np.array([cy * cp, -sy * sp, cy * sp, sy * cp])


def _rotation(yaw: float, pitch: float, roll: float) -> np.ndarray:
    """World from body (x forward, y left, z up); positive pitch looks down."""
    cy, sy, cp, sp, cr, sr = (f(a) for a in (yaw, pitch, roll) for f in (np.cos, np.sin))
    rz = np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1]])
    ry = np.array([[cp, 0, sp], [0, 1, 0], [-sp, 0, cp]])
    rx = np.array([[1, 0, 0], [0, cr, -sr], [0, sr, cr]])
    return rz @ ry @ rx


def _camera_quat(yaw: float, pitch: float, roll: float) -> np.ndarray:
    """Quaternion of a camera that looks along the body's x axis (MuJoCo looks along −z)."""
    optical = np.array([[0, 0, -1], [-1, 0, 0], [0, 1, 0]], float)  # columns: right, up, back
    quat = np.zeros(4)
    mujoco.mju_mat2Quat(quat, (_rotation(yaw, pitch, roll) @ optical).ravel())
    return quat
