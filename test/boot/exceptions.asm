; i386 Linux: does one thing that raises a signal on a CPU, chosen by -DT=NUMBER, and exits with 0 if none came.
	bits 32
	global _start
	section .text
_start:
%if T==1
	fninit
	push dword 037bh	; unmask ZE (bit2)
	fldcw [esp]
	fld1
	fldz
	fdivp st1,st0
	fwait
%elif T==2
	push dword 1d80h	; unmask ZM (bit 9)
	ldmxcsr [esp]
	mov eax,1
	cvtsi2ss xmm0,eax
	xorps xmm1,xmm1
	divss xmm0,xmm1
%elif T==3
	xor edx,edx
	mov eax,1
	xor ecx,ecx
	div ecx
%elif T==4
	ud2
%elif T==5
	movaps xmm0,[esp+1]
%elif T==6
	pushfd
	or dword [esp],100h
	popfd
	nop
	nop
%elif T==7
	int3
%elif T==8
	mov al,127
	add al,1
	into
%elif T==9
	pushfd
	or dword [esp],40000h	; AC
	popfd
	mov eax,[esp+1]
	mov eax,[esp+2]
%elif T==10
	fninit
	push dword 037eh	; unmask IE
	fldcw [esp]
	fldz
	fldz
	fdivp st1,st0
	fld1
	fwait
%elif T==11
	cli
%elif T==12
	mov eax,80000000h
	cdq
	mov ecx,-1
	idiv ecx
%elif T==13
	db 0f1h		; icebp -> #DB
%elif T==14
	bound eax,[bnd]
%elif T==15
	haddps xmm0,xmm0
	db 66h,0fh,38h,00h,0c1h ; pshufb (SSSE3), not in cpuid: SIGILL is right
%elif T==16
	jmp 0ffff0000h
%endif
	mov eax,1
	xor ebx,ebx
	int 80h
	section .data
bnd	dd 5,10
